from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.config import DatasetConfig, PhantomConfig
from dwp_sweep.data.phantom.dataset import write_phantom
from dwp_sweep.errors import StopTrial
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs, TrainingSetup
from dwp_sweep.nets.bayes_conv import BayesConv3d
from dwp_sweep.nets.unet3d import UNetConfig
from dwp_sweep.stages import network_training
from dwp_sweep.stages.network_training import read_cases, train_network, validation_metrics
from dwp_sweep.training.compute import ComputeConfig
from dwp_sweep.training.loop import TrainConfig


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetConfig:
    write_phantom(PhantomConfig(n_subjects=3, shape=(16, 16, 16)), tmp_path / "set")
    return DatasetConfig(layout="msd", root=str(tmp_path / "set"))


def test_a_stage_says_how_many_scans_are_read_and_may_be_asked_to_leave(
    dataset: DatasetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_training, "TELL_EVERY_S", 0.0)
    compute = ComputeConfig(cache_dir=str(tmp_path / "cache"))
    told: list[tuple[str, int, dict[str, float]]] = []

    def emit(stage: str, step: int, metrics: Mapping[str, float]) -> None:
        told.append((stage, step, dict(metrics)))

    assert len(read_cases(dataset, compute, "source", emit)) == 3
    assert told == [("source", 0, {"scans_read": n, "scans": 3.0}) for n in (1.0, 2.0, 3.0)]

    def leave(stage: str, step: int, metrics: Mapping[str, float]) -> None:
        raise StopTrial("the run is stopping")

    with pytest.raises(StopTrial):
        read_cases(dataset, compute, "source", leave)


def test_scans_that_are_at_hand_soon_are_not_spoken_of(
    dataset: DatasetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_training, "TELL_EVERY_S", 600.0)
    compute = ComputeConfig(cache_dir=str(tmp_path / "cache"))
    read_cases(dataset, compute, "source", lambda stage, step, metrics: pytest.fail("spoken of"))


def volume(shape: tuple[int, int, int], seed: int) -> Case:
    image = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    return Case(f"s{seed}", image, (image[0] > 1).astype(np.uint8))


def setup(name: str, config: TrainConfig, n_train: int, **settings: object) -> TrainingSetup:
    unet, sections = UNetConfig(channels=(2, 2, 2, 2)), METHODS[name].sections.items()
    parsed = {section: model.model_validate(settings) for section, model in sections}
    length, device = config.length(n_train), torch.device("cpu")
    return METHODS[name].prepare(MethodInputs(unet, LossConfig(), parsed, n_train, 0, device, length))


def test_the_epoch_with_the_best_dice_is_kept_whatever_its_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, config = [volume((16, 16, 16), seed) for seed in range(2)], TrainConfig(max_epochs=4)
    scores = iter([(0.9, 0.2), (0.7, 0.6), (0.1, 0.5), (0.2, 0.3)])
    weights: list[Tensor] = []
    prepared = setup("random_init", config, 2)

    def measured(*_: object) -> dict[str, float]:
        weights.append(torch.cat([value.flatten().clone() for value in prepared.net.state_dict().values()]))
        loss, dice = next(scores)
        return {"val_loss": loss, "val_dice": dice, "val_iou": dice / 2}

    monkeypatch.setattr(network_training, "validation_metrics", measured)
    compute, checkpoint = ComputeConfig(device="cpu"), tmp_path / "c"
    result = train_network(prepared, cases, cases, config, compute, 0, checkpoint, lambda *_: None)
    assert (result.best_epoch, result.best["val_loss"]) == (2, 0.7)
    kept = torch.cat([value.flatten() for value in prepared.net.state_dict().values()])
    assert torch.equal(kept, weights[1])


@pytest.mark.parametrize(("n_steps", "n_epochs"), [(0, None), (1, None), (2, 1.0), (5, 2.0)])
def test_epochs_say_how_many_of_them_are_no_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_steps: int, n_epochs: float | None
) -> None:
    # Two steps an epoch, and each epoch is worse than the one before: the best is the first candidate.
    cases, config = [volume((16, 16, 16), seed) for seed in range(2)], TrainConfig(max_epochs=3, batch_size=1)
    dice = iter([0.9, 0.8, 0.7])
    monkeypatch.setattr(
        network_training, "validation_metrics", lambda *_: {"val_loss": 1.0, "val_dice": next(dice)}
    )
    prepared = setup("gaussian_prior", config, 2, kl_annealing_steps=n_steps)
    compute, emitted = ComputeConfig(device="cpu"), list[float | None]()

    def emit(epoch: int, metrics: Mapping[str, float]) -> None:
        emitted.append(metrics.get("warm_up_epochs"))

    result = train_network(prepared, cases, cases, config, compute, 0, tmp_path / "c", emit)
    assert emitted == [n_epochs] * 3 and result.best_epoch == 1 + (n_epochs or 0)


def test_validation_of_a_variational_network_is_its_means(tmp_path: Path) -> None:
    """In training mode two validations of one network would differ by its noise."""
    cases, config = [volume((16, 16, 16), seed) for seed in range(2)], TrainConfig(max_epochs=1)
    prepared, compute = setup("noise_only", config, 2, init_log_var=0), ComputeConfig(device="cpu")
    result = train_network(prepared, cases, cases, config, compute, 0, tmp_path / "c", lambda *_: None)
    layers = [layer for layer in prepared.net.modules() if isinstance(layer, BayesConv3d)]
    for layer in layers:
        layer.log_var.data.fill_(-80)
    prepared.net.train()  # without noise a variational network in training mode is its mean
    means = validation_metrics(prepared, cases, compute)
    assert layers and result.best["val_loss"] == pytest.approx(means["val_loss"], rel=1e-5)


def gradient(cases: Sequence[Case], checkpoint: Path) -> Tensor:
    """Of one step on all cases as one batch, from the same start."""
    config, found = TrainConfig(max_epochs=1, batch_size=len(cases)), list[Tensor]()

    def keep(self: torch.optim.Adam, closure: object = None) -> None:
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        found.append(torch.cat([parameter.grad.flatten() for parameter in parameters]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", keep)
        prepared, compute = setup("random_init", config, len(cases)), ComputeConfig(device="cpu")
        train_network(prepared, cases, cases[:1], config, compute, 0, checkpoint, lambda epoch, metrics: None)
    return found[0]


def test_the_gradient_of_a_batch_is_the_mean_over_its_images_whatever_their_sizes(tmp_path: Path) -> None:
    """Padded to its neighbour's size, a volume would be normalised with voxels that it does not have."""
    small, large = volume((16, 16, 16), 1), volume((24, 16, 32), 2)
    of_small, of_large = gradient([small], tmp_path / "0"), gradient([large], tmp_path / "1")
    both, three = gradient([small, large], tmp_path / "2"), gradient([small, large, small], tmp_path / "3")
    torch.testing.assert_close(both, (of_small + of_large) / 2, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(three, (2 * of_small + of_large) / 3, rtol=1e-3, atol=1e-5)
