"""Augmented training by the one loop: resumable to the bit, for every kind of method, drawn for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from dwp_sweep.data.augment.augmenter import Augmentation
from dwp_sweep.data.augment.config import AugmentConfig, short_form
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.errors import StopTrial
from dwp_sweep.methods.contract import TrainingSetup
from dwp_sweep.stages.augmented_figure import NAME, augmented_figure
from dwp_sweep.stages.network_training import train_network
from dwp_sweep.training.compute import ComputeConfig
from dwp_sweep.training.loop import FitResult, TrainConfig
from tests.stages.test_patch_training import case, prepared_by

STRONG = Augmentation(AugmentConfig.model_validate(short_form({"preset": "strong", "flip": ["LR"]})))
WHOLE = PatchConfig()
CONFIG = TrainConfig(batch_size=2, max_epochs=3, steps_per_epoch=2)


def train(
    checkpoint: Path,
    stop_after: int | None = None,
    augmentation: Augmentation = STRONG,
    patch: PatchConfig = WHOLE,
    method: str = "random_init",
) -> tuple[FitResult, TrainingSetup]:
    def emit(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == stop_after:
            raise StopTrial("enough")

    prepared, cases = prepared_by(method), [case(seed) for seed in range(3)]
    compute = ComputeConfig(device="cpu")
    result = train_network(
        prepared, cases, [case(9)], CONFIG, compute, 5, checkpoint, emit, patch, augmentation
    )
    return result, prepared


def weights(method: TrainingSetup) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in method.net.state_dict().values()])


@pytest.mark.parametrize("method", ["random_init", "noise_only"])
@pytest.mark.parametrize("patch", [WHOLE, PatchConfig(shape=(16, 16, 8))], ids=["volumes", "patches"])
def test_a_training_that_was_cut_and_resumed_ends_with_the_same_weights(
    tmp_path: Path, patch: PatchConfig, method: str
) -> None:
    straight, net = train(tmp_path / "straight.safetensors", patch=patch, method=method)
    with pytest.raises(StopTrial):
        train(tmp_path / "cut.safetensors", stop_after=1, patch=patch, method=method)
    resumed, other = train(tmp_path / "cut.safetensors", patch=patch, method=method)
    assert resumed == straight
    assert torch.equal(weights(net), weights(other))


def test_augmentation_changes_what_is_learned_and_not_what_is_validated(tmp_path: Path) -> None:
    plain, net = train(tmp_path / "plain", augmentation=Augmentation())
    augmented, other = train(tmp_path / "augmented")
    assert not torch.equal(weights(net), weights(other))
    assert plain.history[0]["train_loss"] != augmented.history[0]["train_loss"]


def test_the_network_sees_other_images_in_every_step_and_the_same_ones_to_validate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, seen = prepared_by("random_init"), list[tuple[bool, float]]()
    monkeypatch.setattr("tests.stages.test_augmented_training.prepared_by", lambda _: prepared)
    prepared.net.register_forward_pre_hook(
        lambda net, images: seen.append((net.training, float(images[0].double().square().sum())))
    )
    train(tmp_path / "c.safetensors")
    trained, validated = ([energy for mode, energy in seen if mode == is_step] for is_step in (True, False))
    assert len(set(trained)) == len(trained) == 6
    assert len(set(validated)) == 1 and len(validated) == 3


def test_the_picture_shows_what_the_training_sees_and_only_where_it_augments(tmp_path: Path) -> None:
    cases = [case(seed) for seed in range(2)]
    augmented_figure(cases, Augmentation(), WHOLE, 5, tmp_path, "target task")
    assert not list(tmp_path.iterdir())
    augmented_figure(cases, STRONG, WHOLE, 5, tmp_path, "target task")
    first = (tmp_path / NAME).read_bytes()
    assert first.startswith(b"\x89PNG") and len(first) > 5_000
    augmented_figure(cases, STRONG, WHOLE, 5, tmp_path, "target task")
    assert (tmp_path / NAME).read_bytes() == first
    augmented_figure(cases, STRONG, PatchConfig(shape=(16, 16, 8)), 5, tmp_path, "target task")
    assert (tmp_path / NAME).read_bytes() != first


def test_an_image_without_patient_or_foreground_is_drawn_too(tmp_path: Path) -> None:
    empty = case(0)
    empty.image[:], empty.mask[:] = 0.0, 0
    assert not np.any(empty.image)
    augmented_figure([empty], STRONG, WHOLE, 5, tmp_path, "target task")
    assert (tmp_path / NAME).is_file()
