"""The one loop: schedule of Table 1, selection, divergence, bit-equal resume."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dwp_sweep.errors import DivergedError, StopTrial
from dwp_sweep.training.checkpoint import load_checkpoint, save_checkpoint
from dwp_sweep.training.compute import named_generator
from dwp_sweep.training.loop import Learner, TrainConfig, fit, higher_val_dice, lower_val_loss

N_TRAIN = 7


class Noisy(nn.Module):
    """A line fitted under multiplicative noise drawn from its own generator."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


def noisy_learner(scale: float = 1.0) -> Learner:
    net = Noisy()
    x = torch.randn(N_TRAIN, 3, generator=torch.Generator().manual_seed(1))
    y = x @ torch.tensor([1.0, -2.0, 0.5])
    noise = named_generator(0, "noise")

    def batch_loss(indices: Tensor, step: int) -> dict[str, Tensor]:
        weight = net.weight * (1 + 0.1 * torch.randn(3, generator=noise))
        return {"loss": scale * (x[indices] @ weight - y[indices]).square().mean()}

    def validate() -> dict[str, float]:
        with torch.no_grad():
            return {"val_loss": float((x @ net.weight - y).square().mean())}

    return Learner(net, [{"params": list(net.parameters())}], batch_loss, validate, lower_val_loss, noise)


def watched_learner(sizes: list[int]) -> Learner:
    learner = noisy_learner()

    def watched(indices: Tensor, step: int) -> dict[str, Tensor]:
        sizes.append(len(indices))
        return {"loss": learner.state.weight.sum()}

    return learner._replace(batch_loss=watched)


def ignore(epoch: int, metrics: Mapping[str, float]) -> None:
    return None


def test_an_interrupted_training_ends_bit_equal_to_an_undisturbed_one(tmp_path: Path) -> None:
    config = TrainConfig(lr=0.05, max_epochs=9, patience=1, weight_decay=1e-3)
    whole = noisy_learner()
    expected = fit(whole, config, N_TRAIN, 3, tmp_path / "whole.safetensors", ignore)

    def stop_at_four(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == 4:
            raise StopTrial

    with pytest.raises(StopTrial):
        fit(noisy_learner(), config, N_TRAIN, 3, tmp_path / "cut.safetensors", stop_at_four)
    seen: list[int] = []
    resumed = noisy_learner()
    result = fit(
        resumed, config, N_TRAIN, 3, tmp_path / "cut.safetensors", lambda epoch, _: seen.append(epoch)
    )

    assert seen == [4, 5, 6, 7, 8, 9]  # 4 again: its word may have been lost with the worker
    assert result == expected
    assert torch.equal(resumed.state.weight, whole.state.weight)


def test_a_stop_between_two_checkpoints_writes_one(tmp_path: Path) -> None:
    def stop_at_three(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == 3:
            raise StopTrial

    config = TrainConfig(lr=0.05, max_epochs=9, checkpoint_every=5)
    with pytest.raises(StopTrial):
        fit(noisy_learner(), config, N_TRAIN, 3, tmp_path / "cut.safetensors", stop_at_three)
    seen: list[int] = []
    fit(
        noisy_learner(), config, N_TRAIN, 3, tmp_path / "cut.safetensors", lambda epoch, _: seen.append(epoch)
    )
    assert seen[0] == 3


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    config = TrainConfig(lr=0.05, max_epochs=3)
    first = fit(noisy_learner(), config, N_TRAIN, 3, tmp_path / "c.safetensors", ignore)
    learner = noisy_learner()
    calls = 0

    def counted(indices: Tensor, step: int) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        return learner.batch_loss(indices, step)

    again = fit(learner._replace(batch_loss=counted), config, N_TRAIN, 3, tmp_path / "c.safetensors", ignore)
    assert calls == 0
    assert again == first


def test_the_rate_falls_three_times_and_then_training_ends(tmp_path: Path) -> None:
    learner = noisy_learner()._replace(validate=lambda: {"val_loss": 1.0})
    result = fit(learner, TrainConfig(patience=2), N_TRAIN, 0, tmp_path / "c.safetensors", ignore)
    rates = [round(metrics["lr"] * 1e6) for metrics in result.history]
    # One epoch sets the best loss, then patience + 1 without improvement end each rate.
    assert rates == [1000] * 4 + [100] * 3 + [10] * 3
    assert result.best_epoch == 1


def test_an_improvement_below_the_absolute_threshold_does_not_count(tmp_path: Path) -> None:
    def epochs(gain: float) -> int:
        losses = iter(1 - gain * epoch for epoch in range(50))
        learner = noisy_learner()._replace(validate=lambda: {"val_loss": next(losses)})
        config = TrainConfig(patience=1, threshold=1e-4, max_epochs=40)
        return len(fit(learner, config, N_TRAIN, 0, tmp_path / f"{gain}", ignore).history)

    # Epochs 1, 5 and 9 are better than the best by more than 1e-4; two epochs after each the rate falls.
    assert epochs(0.3e-4) == 11
    assert epochs(1.1e-4) == 40


@pytest.mark.parametrize("level", [1e-3, 100.0])
def test_the_threshold_is_as_absolute_for_large_losses_as_for_small_ones(
    tmp_path: Path, level: float
) -> None:
    # 1.5e-4 an epoch is an improvement at any level; relative to 100 it would be none.
    learner = losses_of(noisy_learner(), [level - 1.5e-4 * epoch for epoch in range(12)])
    config = TrainConfig(patience=0, threshold=1e-4, max_epochs=12)
    rates = [metrics["lr"] for metrics in fit(learner, config, N_TRAIN, 0, tmp_path / "c", ignore).history]
    assert rates == [1e-3] * 12
    # 0.3e-4 is none at any level; relative to 1e-3 it would be one.
    learner = losses_of(noisy_learner(), [level - 0.3e-4 * epoch for epoch in range(4)])
    config = TrainConfig(patience=0, threshold=1e-4, max_epochs=4)
    rates = [metrics["lr"] for metrics in fit(learner, config, N_TRAIN, 0, tmp_path / "d", ignore).history]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])


def test_steps_are_taken_in_training_mode_and_epochs_validated_in_evaluation_mode(tmp_path: Path) -> None:
    learner, modes = noisy_learner(), list[str]()

    def batch_loss(indices: Tensor, step: int) -> dict[str, Tensor]:
        modes.append("step, " + ("training" if learner.state.training else "evaluation"))
        return learner.batch_loss(indices, step)

    def validate() -> dict[str, float]:
        modes.append("validation, " + ("training" if learner.state.training else "evaluation"))
        return learner.validate()

    config = TrainConfig(max_epochs=2, steps_per_epoch=1)
    fit(
        learner._replace(batch_loss=batch_loss, validate=validate), config, N_TRAIN, 0, tmp_path / "c", ignore
    )
    assert modes == ["step, training", "validation, evaluation"] * 2


def losses_of(learner: Learner, losses: Sequence[float]) -> Learner:
    values = iter(losses)
    return learner._replace(validate=lambda: {"val_loss": next(values)})


@pytest.mark.parametrize(("warm_up", "best"), [(0, 1), (2, 1), (3, 2), (8, 3), (9, 4)])
def test_an_epoch_that_ends_in_the_warm_up_is_no_candidate(tmp_path: Path, warm_up: int, best: int) -> None:
    # Three steps an epoch, and each epoch is worse than the one before.
    config = TrainConfig(max_epochs=5, steps_per_epoch=3)
    learner = losses_of(noisy_learner(), [1, 2, 3, 4, 5])._replace(warm_up=warm_up)
    result = fit(learner, config, N_TRAIN, 0, tmp_path / "c", ignore)
    assert (result.best_epoch, len(result.history)) == (best, 5)


def test_the_plateau_waits_for_the_end_of_the_warm_up(tmp_path: Path) -> None:
    # After four epochs of low loss, which are no measure, the loss falls from 9.
    config = TrainConfig(max_epochs=8, steps_per_epoch=3, patience=0)
    learner = losses_of(noisy_learner(), [0, 0, 0, 0, 9, 8, 7, 6])._replace(warm_up=12)
    result = fit(learner, config, N_TRAIN, 0, tmp_path / "c", ignore)
    assert {metrics["lr"] for metrics in result.history} == {1e-3} and result.best_epoch == 8


def test_a_training_that_stops_in_its_warm_up_goes_on_bit_equal(tmp_path: Path) -> None:
    config = TrainConfig(lr=0.05, max_epochs=6, steps_per_epoch=3)

    def stop_at_two(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == 2:
            raise StopTrial

    whole, cut = (noisy_learner()._replace(warm_up=12) for _ in range(2))
    expected = fit(whole, config, N_TRAIN, 3, tmp_path / "whole", ignore)
    with pytest.raises(StopTrial):
        fit(cut, config, N_TRAIN, 3, tmp_path / "cut", stop_at_two)
    assert fit(cut, config, N_TRAIN, 3, tmp_path / "cut", ignore) == expected
    assert torch.equal(cut.state.weight, whole.state.weight)


def test_a_warm_up_as_long_as_the_training_is_refused(tmp_path: Path) -> None:
    config = TrainConfig(max_epochs=2, steps_per_epoch=3)
    with pytest.raises(ValueError, match="no epoch would be a candidate: the warm-up takes 6 steps"):
        fit(noisy_learner()._replace(warm_up=6), config, N_TRAIN, 0, tmp_path / "c", ignore)


def test_steps_per_epoch_gives_every_training_size_the_same_steps(tmp_path: Path) -> None:
    config = TrainConfig(max_epochs=2, steps_per_epoch=5, batch_size=2)
    for n_train in (1, 3, 40):
        sizes: list[int] = []
        result = fit(watched_learner(sizes), config, n_train, 0, tmp_path / f"{n_train}", ignore)
        assert result.n_steps == 10
        assert sizes == [2] * 10


def test_one_pass_sees_every_image_once(tmp_path: Path) -> None:
    seen: list[int] = []
    learner = noisy_learner()

    def watched(indices: Tensor, step: int) -> dict[str, Tensor]:
        seen.extend(indices.tolist())
        return learner.batch_loss(indices, step)

    fit(learner._replace(batch_loss=watched), TrainConfig(max_epochs=1), N_TRAIN, 0, tmp_path / "c", ignore)
    assert sorted(seen) == list(range(N_TRAIN))


def test_a_loss_that_is_not_finite_names_the_last_finite_step(tmp_path: Path) -> None:
    learner = noisy_learner()

    def poisoned(indices: Tensor, step: int) -> dict[str, Tensor]:
        loss = learner.batch_loss(indices, step)["loss"]
        return {"loss": loss * float("nan") if step == 6 else loss}

    with pytest.raises(
        DivergedError, match=r"training loss became nan in step 6 \(epoch 2\).*last finite value was"
    ):
        fit(learner._replace(batch_loss=poisoned), TrainConfig(), N_TRAIN, 0, tmp_path / "c", ignore)


def test_the_state_returned_is_the_best_validation_epoch(tmp_path: Path) -> None:
    weights: list[Tensor] = []
    learner = noisy_learner()
    dices = iter([0.1, 0.9, 0.9, 0.3])
    losses = iter([1.0, 0.5, 0.4, 0.1])

    def validate() -> dict[str, float]:
        weights.append(learner.state.weight.detach().clone())
        return {"val_dice": next(dices), "val_loss": next(losses)}

    learner = learner._replace(validate=validate, better=higher_val_dice)
    result = fit(learner, TrainConfig(lr=0.1, max_epochs=4), N_TRAIN, 0, tmp_path / "c", ignore)
    assert result.best_epoch == 3  # equal Dice: the lower loss decides
    assert result.best["val_dice"] == 0.9
    assert torch.equal(learner.state.weight, weights[2])


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    fit(noisy_learner(), TrainConfig(max_epochs=2), N_TRAIN, 0, tmp_path / "c", ignore)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_from_another_kind_of_device_starts_over(tmp_path: Path) -> None:
    config = TrainConfig(lr=0.05, max_epochs=2)
    path = tmp_path / "c.safetensors"
    expected = fit(noisy_learner(), config, N_TRAIN, 3, path, ignore)
    loaded = load_checkpoint(path)
    assert loaded is not None
    tensors, state = loaded
    save_checkpoint(
        path, tensors | {"noise": torch.zeros(16, dtype=torch.uint8)}, state | {"noise_device": "cuda"}
    )
    seen: list[int] = []
    assert fit(noisy_learner(), config, N_TRAIN, 3, path, lambda epoch, _: seen.append(epoch)) == expected
    assert seen == [1, 2]


def test_a_damaged_checkpoint_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(b"no checkpoint at all")
    result = fit(noisy_learner(), TrainConfig(max_epochs=2), N_TRAIN, 0, path, ignore)
    assert len(result.history) == 2


def drawn(config: TrainConfig, n_epochs: int, seed: int) -> list[list[int]]:
    """The batches of a training by the rule: each epoch cuts fresh permutations into pieces."""
    order, found = named_generator(seed, "order"), list[list[int]]()
    for _ in range(n_epochs):
        wanted = (config.steps_per_epoch or math.ceil(N_TRAIN / config.batch_size)) * config.batch_size
        n_passes = 1 if config.steps_per_epoch is None else math.ceil(wanted / N_TRAIN)
        flat = [int(i) for _ in range(n_passes) for i in torch.randperm(N_TRAIN, generator=order)][:wanted]
        found += [flat[start : start + config.batch_size] for start in range(0, len(flat), config.batch_size)]
    return found


@pytest.mark.parametrize("steps_per_epoch", [None, 3, 11])
def test_what_comes_next_is_told_across_epochs_and_changes_no_order(
    tmp_path: Path, steps_per_epoch: int | None
) -> None:
    config = TrainConfig(max_epochs=5, steps_per_epoch=steps_per_epoch)
    taken: list[tuple[int, list[int]]] = []
    told: list[tuple[int, list[int]]] = []
    plain = noisy_learner()

    def noted(indices: Tensor, step: int) -> dict[str, Tensor]:
        taken.append((step, indices.tolist()))
        return plain.batch_loss(indices, step)

    def upcoming(indices: Tensor, step: int) -> None:
        assert step == len(taken) + 1, "told before the step in between"
        told.append((step, indices.tolist()))

    def stop_at_two(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == 2:
            raise StopTrial

    learner = plain._replace(batch_loss=noted, upcoming=upcoming)
    path = tmp_path / "c.safetensors"
    with pytest.raises(StopTrial):
        fit(learner, config, N_TRAIN, 3, path, stop_at_two)
    fit(learner, config, N_TRAIN, 3, path, ignore)

    assert [indices for _, indices in taken] == drawn(config, 5, 3)
    assert [step for step, _ in taken] == list(range(len(taken)))
    # The third epoch's first batch was told before the stop; a resumed run begins untold.
    assert told == taken[1:]
