"""Augmented batches: the same whoever makes them and whenever, of volumes and of patches."""

from __future__ import annotations

import pytest
import torch

from dwp_sweep.data.augment.augmenter import Augmentation, Augmenter
from dwp_sweep.data.augment.config import AugmentConfig, short_form
from dwp_sweep.data.batches import Batch, BatchMaker
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.errors import InputError
from tests.data.augment.volumes import CPU, noisy_case, whole

PLAIN = AugmentConfig.model_validate(short_form({"preset": "plain", "flip": ["LR"]}))
CASES = [noisy_case((12, 14, 10)), noisy_case((16, 10, 12)), noisy_case((12, 14, 10), background=-1.0)]
ORDER = torch.tensor([2, 0, 1])


def made(patch: PatchConfig, step: int, seed: int = 3, ahead: bool = False) -> tuple[Batch, ...]:
    with BatchMaker(CASES, patch, 1, ahead=ahead, augmenter=Augmenter(PLAIN, "RAS", seed, CPU)) as maker:
        if ahead:
            maker.upcoming(ORDER, step)
            maker.batch(ORDER, step + 7)
        return maker.batch(ORDER, step)


def same(one: tuple[Batch, ...], other: tuple[Batch, ...]) -> bool:
    return all(
        a.images.shape == b.images.shape and torch.equal(a.images, b.images) and torch.equal(a.masks, b.masks)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("patch", [PatchConfig(), PatchConfig(shape=(8, 8, 8))])
def test_a_batch_that_a_thread_made_beforehand_is_the_same(patch: PatchConfig) -> None:
    assert same(made(patch, 4), made(patch, 4, ahead=True))
    assert not same(made(patch, 4), made(patch, 5))
    assert not same(made(patch, 4), made(patch, 4, seed=9))


def test_volumes_of_several_sizes_keep_them_and_their_types() -> None:
    parts = made(PatchConfig(), 0)
    assert [tuple(part.images.shape) for part in parts] == [(2, 1, 12, 14, 10), (1, 1, 16, 10, 12)]
    assert {part.images.dtype for part in parts} == {torch.float32}
    assert {part.masks.dtype for part in parts} == {torch.uint8}
    assert all(part.n_patches is None for part in parts)


def test_augmented_patches_say_how_many_of_them_a_volume_is_as_plain_ones_do() -> None:
    patch = PatchConfig(shape=(8, 8, 8))
    with BatchMaker(CASES, patch, 1) as maker:
        (plain,) = maker.batch(ORDER, 2)
    (augmented,) = made(patch, 2)
    assert plain.n_patches is not None and augmented.n_patches is not None
    assert torch.equal(plain.n_patches, augmented.n_patches)
    assert plain.images.shape == augmented.images.shape


def test_an_augmenter_that_never_changes_anything_gives_the_plain_batches() -> None:
    still = PLAIN.model_copy(update={"strength": 0.0})
    for patch in (PatchConfig(), PatchConfig(shape=(8, 8, 8)), PatchConfig(shape=(16, 16, 16))):
        with (
            BatchMaker(CASES, patch, 1) as plain,
            BatchMaker(CASES, patch, 1, augmenter=Augmenter(still, "RAS", 3, CPU)) as maker,
        ):
            for step in range(3):
                assert same(plain.batch(ORDER, step), maker.batch(ORDER, step))


def test_rows_of_one_batch_are_changed_differently() -> None:
    augmenter = Augmenter(PLAIN, "RAS", 3, CPU)
    first, second = (augmenter.augmented(CASES[0], whole(CASES[0]), 0, row)[0] for row in range(2))
    assert not torch.equal(first, second)


def test_without_settings_there_is_no_augmenter() -> None:
    assert Augmentation().augmenter(0, CPU) is None
    Augmentation().require_possible(CASES, "target.augment")
    flat = [noisy_case((12, 14, 1))]
    with pytest.raises(InputError, match=r"target\.augment\.rotation_deg: a turn about LR, AP leaves"):
        Augmentation(PLAIN).require_possible(flat, "target.augment")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_turns_as_the_cpu_does() -> None:
    settings = PLAIN.model_copy(update={"intensity_probability": 0.0})
    for step in range(5):
        pairs = [
            Augmenter(settings, "RAS", 3, torch.device(name)).augmented(CASES[0], whole(CASES[0]), step, 0)
            for name in ("cpu", "cuda")
        ]
        assert torch.allclose(pairs[0][0], pairs[1][0].cpu(), atol=1e-4)
        assert float((pairs[0][1] == pairs[1][1].cpu()).float().mean()) > 0.99
