"""Which blocks a transferred network keeps, until when, and that nothing touches them until then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.errors import StopTrial
from dwp_sweep.methods.contract import TrainingSetup
from dwp_sweep.methods.freeze_middle import BLOCKS, ENDS, FreezeConfig
from dwp_sweep.stages.network_training import train_network
from dwp_sweep.training.checkpoint import load_checkpoint, under_prefix
from dwp_sweep.training.compute import ComputeConfig
from dwp_sweep.training.loop import TrainConfig
from tests.methods.tiny import Prepare

SCHEDULE = TrainConfig(lr=1e-2, weight_decay=0.1, max_epochs=4, batch_size=2)
MOMENTS = "exp_avg"


def cases() -> list[Case]:
    draws = np.random.default_rng(0)
    images = [draws.standard_normal((1, 16, 16, 16)).astype(np.float32) for _ in range(3)]
    return [Case(f"s{i}", image, (image[0] > 1).astype(np.uint8)) for i, image in enumerate(images)]


def train(prepared: TrainingSetup, path: Path, stop_after: int = 0, schedule: TrainConfig = SCHEDULE) -> None:
    def emit(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == stop_after:
            raise StopTrial

    train_network(prepared, cases(), cases()[:1], schedule, ComputeConfig(device="cpu"), 0, path, emit)


def after(prepared: TrainingSetup, path: Path, epoch: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and moments of Adam after an epoch, from the checkpoint."""
    with pytest.raises(StopTrial):
        train(prepared, path, epoch)
    tensors, _ = load_checkpoint(path) or ({}, {})
    return under_prefix("state", tensors), under_prefix("optimizer", tensors)


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def changed_blocks(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name in before if not torch.equal(before[name], now[name])}


def test_the_first_and_the_last_blocks_of_the_paper_learn(prepare: Prepare, tmp_path: Path) -> None:
    prepared = prepare("freeze_middle")
    before = weights(prepared.net)
    now, _ = after(prepared, tmp_path / "c.safetensors", 1)
    assert changed_blocks(before, now) == {"init_conv", "down1", "up3", "out"}


@pytest.mark.parametrize("n_frozen", [0, 1, 4, 10])
def test_so_many_blocks_from_the_input_on_keep_their_weights(
    n_frozen: int, prepare: Prepare, tmp_path: Path
) -> None:
    prepared = prepare("freeze_middle", n_frozen=n_frozen)
    before = weights(prepared.net)
    now, _ = after(prepared, tmp_path / "c.safetensors", 1)
    assert changed_blocks(before, now) == set(BLOCKS[n_frozen:])


def test_frozen_blocks_have_no_step_no_moments_and_no_decay_before_they_thaw(
    prepare: Prepare, tmp_path: Path
) -> None:
    prepared = prepare("freeze_middle", n_frozen=4, thaw_epoch=3)
    before = weights(prepared.net)
    n_tuned = sum(name.split(".")[0] in BLOCKS[4:] for name in before)
    for epoch, n_blocks, n_known in ((2, 7, n_tuned), (3, 11, len(before))):
        now, moments = after(prepared, tmp_path / "c.safetensors", epoch)
        assert changed_blocks(before, now) == set(BLOCKS[-n_blocks:])
        assert sum(name.endswith(MOMENTS) for name in moments) == n_known


def test_a_thawed_block_is_trained_as_by_an_optimiser_that_begins_with_the_thaw(
    prepare: Prepare, tmp_path: Path
) -> None:
    prepared, plain = prepare("freeze_middle", thaw_epoch=2), prepare("fine_tune")
    now, _ = after(prepared, tmp_path / "c.safetensors", 2)

    def tuned_and_frozen() -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        named = list(plain.net.named_parameters())
        return [p for n, p in named if n.split(".")[0] in ENDS], [
            p for n, p in named if n.split(".")[0] not in ENDS
        ]

    optimizers = [
        torch.optim.Adam(part, lr=1e-2, weight_decay=0.1, fused=False) for part in tuned_and_frozen()
    ]
    order = [batch for _, batch in _batches(2)]
    scans = cases()
    for step, indices in enumerate(order):
        images = torch.stack([torch.from_numpy(scans[i].image) for i in indices])
        masks = torch.stack([torch.from_numpy(scans[i].mask).long() for i in indices])
        plain.net.zero_grad()
        plain.batch_loss(plain.net(images), masks, step)["loss"].backward()
        for optimizer in optimizers if step >= 2 else optimizers[:1]:  # two steps an epoch
            optimizer.step()
    for name, value in plain.net.state_dict().items():
        torch.testing.assert_close(now[name], value, rtol=1e-4, atol=1e-5)


def _batches(n_epochs: int) -> list[tuple[int, list[int]]]:
    from dwp_sweep.training.compute import named_generator

    order = named_generator(0, "order")
    return [
        (epoch, batch.tolist())
        for epoch in range(n_epochs)
        for batch in torch.randperm(3, generator=order).split(2)  # type: ignore[no-untyped-call]
    ]


def test_thawed_in_the_first_epoch_it_is_fine_tuning_bit_for_bit(prepare: Prepare, tmp_path: Path) -> None:
    thawed, plain = prepare("freeze_middle", n_frozen=10, thaw_epoch=1), prepare("fine_tune")
    train(thawed, tmp_path / "thawed.safetensors")
    train(plain, tmp_path / "plain.safetensors")
    assert same(weights(thawed.net), weights(plain.net))


def test_a_thaw_after_the_last_epoch_never_comes(prepare: Prepare, tmp_path: Path) -> None:
    late, never = prepare("freeze_middle", thaw_epoch=5), prepare("freeze_middle")
    train(late, tmp_path / "late.safetensors")
    train(never, tmp_path / "never.safetensors")
    assert same(weights(late.net), weights(never.net))


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_training_interrupted_around_its_thaw_ends_bit_equal_to_an_undisturbed_one(
    stop_after: int, prepare: Prepare, tmp_path: Path
) -> None:
    whole, cut, resumed = (prepare("freeze_middle", n_frozen=5, thaw_epoch=3) for _ in range(3))
    train(whole, tmp_path / "whole.safetensors")
    after(cut, tmp_path / "cut.safetensors", stop_after)
    train(resumed, tmp_path / "cut.safetensors")
    ends = [load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("whole", "cut")]
    assert ends[0] is not None and ends[1] is not None
    assert same(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]


def test_rates_by_scale_hold_for_blocks_that_thaw(prepare: Prepare, tmp_path: Path) -> None:
    prepared = prepare("freeze_middle", n_frozen=10, thaw_epoch=2, lr_by_scale=True)
    before = weights(prepared.net)
    now, _ = after(prepared, tmp_path / "c.safetensors", 2)
    assert changed_blocks(before, now) == set(BLOCKS)


def test_two_words_on_what_is_frozen_are_refused() -> None:
    with pytest.raises(ValidationError, match="give one of them"):
        FreezeConfig(trainable=("out",), n_frozen=3)
    with pytest.raises(ValidationError):
        FreezeConfig(n_frozen=11)
