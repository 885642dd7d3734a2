"""Training on patches: the one loop, resumable, with batches made beforehand."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dwp_sweep.data import batches
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.errors import StopTrial
from dwp_sweep.losses.segmentation import LossConfig, LossTerms, segmentation_loss
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs, TrainingSetup
from dwp_sweep.nets.net_files import save_net
from dwp_sweep.nets.unet3d import UNetConfig
from dwp_sweep.stages.network_training import train_network
from dwp_sweep.training.compute import ComputeConfig
from dwp_sweep.training.loop import FitResult, TrainConfig, TrainingLength

PATCH = PatchConfig(shape=(16, 16, 8))
CONFIG = TrainConfig(batch_size=2, max_epochs=3, steps_per_epoch=2)


def case(seed: int, shape: tuple[int, int, int] = (20, 18, 10)) -> Case:
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[4:9, 5:10, 3:8] = 1
    return Case(f"s{seed}", rng.normal(size=(1, *shape)).astype(np.float32) + mask, mask)


def prepared() -> TrainingSetup:
    return prepared_by("random_init")


def prepared_by(name: str, source: Path | None = None) -> TrainingSetup:
    unet, length = UNetConfig(channels=(2, 2, 2, 2)), TrainingLength(3, 2)
    sections = {section: model() for section, model in METHODS[name].sections.items()}
    inputs = MethodInputs(unet, LossConfig(), sections, 3, 0, torch.device("cpu"), length, source)
    return METHODS[name].prepare(inputs)


def train(
    checkpoint: Path,
    stop_after: int | None = None,
    patch: PatchConfig = PATCH,
    config: TrainConfig = CONFIG,
) -> tuple[FitResult, TrainingSetup]:
    def emit(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == stop_after:
            raise StopTrial("enough")

    method, cases = prepared(), [case(seed) for seed in range(3)]
    compute = ComputeConfig(device="cpu")
    return train_network(method, cases, [case(9)], config, compute, 5, checkpoint, emit, patch), method


def test_a_resumed_training_sees_the_same_patches(tmp_path: Path) -> None:
    straight, net = train(tmp_path / "straight.safetensors")
    with pytest.raises(StopTrial):
        train(tmp_path / "stopped.safetensors", stop_after=1)
    resumed, other = train(tmp_path / "stopped.safetensors")

    assert [dict(one) for one in resumed.history] == [dict(one) for one in straight.history]
    for name, value in net.net.state_dict().items():
        assert torch.equal(value, other.net.state_dict()[name]), name


def test_the_network_trains_on_patches_and_validates_on_whole_volumes(tmp_path, monkeypatch) -> None:
    seen: list[tuple[int, ...]] = []
    stack = batches.stack

    def noted(cases):
        seen.append(tuple(cases[0].mask.shape))
        return stack(cases)

    monkeypatch.setattr(batches, "stack", noted)
    result, _ = train(tmp_path / "c.safetensors")

    assert set(seen) == {(16, 16, 8), (20, 18, 10)}
    assert seen.count((20, 18, 10)) == 3, "one validation case, three epochs"
    assert all(np.isfinite(list(one.values())).all() for one in result.history)


@pytest.mark.parametrize("name", ["random_init", "noise_only", "gaussian_prior", "l2_sp"])
def test_every_method_is_told_how_many_patches_a_volume_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    counts: list[Tensor | None] = []

    def noted(logits: Tensor, mask: Tensor, config: LossConfig, n_patches: Tensor | None = None) -> LossTerms:
        counts.append(n_patches)
        return segmentation_loss(logits, mask, config, n_patches)

    for module in ("start", "variational"):
        monkeypatch.setattr(f"dwp_sweep.methods.{module}.segmentation_loss", noted)
    save_net(prepared().net, UNetConfig(channels=(2, 2, 2, 2)), tmp_path / "source")
    monkeypatch.setattr(
        "tests.stages.test_patch_training.prepared", lambda: prepared_by(name, tmp_path / "source")
    )
    train(tmp_path / "c.safetensors")

    in_training = [n.tolist() for n in counts if n is not None]
    assert in_training == [[20 / 16 * 18 / 16 * 10 / 8] * 2] * 6
    assert counts.count(None) == 3, "one validation case, three epochs"


def test_every_batch_but_the_first_of_all_is_made_beforehand_and_none_in_vain(tmp_path, monkeypatch) -> None:
    makers: list[bool] = []
    real = batches.BatchMaker._make

    def noted(self, step, indices):
        makers.append(threading.current_thread() is threading.main_thread())
        return real(self, step, indices)

    monkeypatch.setattr(batches.BatchMaker, "_make", noted)
    one_pass = CONFIG.model_copy(update={"steps_per_epoch": None})
    train(tmp_path / "c.safetensors", patch=PatchConfig(), config=one_pass)

    assert makers == [True] + [False] * 5, "two steps in each of three epochs"
