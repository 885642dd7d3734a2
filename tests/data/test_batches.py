from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dwp_sweep.data import batches
from dwp_sweep.data.batches import BatchMaker, collate
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.patches import PatchConfig


def case(shape: tuple[int, int, int], fill: float = 1.0) -> Case:
    return Case("s", np.full((1, *shape), fill, dtype=np.float32), np.ones(shape, dtype=np.uint8))


def test_cases_of_one_shape_are_stacked():
    images, masks = collate([case((4, 5, 6), 1.0), case((4, 5, 6), 2.0)])

    assert (images.shape, images.dtype) == ((2, 1, 4, 5, 6), torch.float32)
    assert (masks.shape, masks.dtype) == ((2, 4, 5, 6), torch.int64)
    assert images[1].unique().tolist() == [2.0]


def test_cases_of_two_sizes_are_no_batch():
    with pytest.raises(ValueError, match="volumes of one size"):
        collate([case((2, 5, 3)), case((4, 3, 6))])


def test_volumes_of_several_sizes_come_in_parts_without_padding():
    cases = [case((2, 5, 3), 1.0), case((4, 3, 6), 2.0), case((2, 5, 3), 3.0)]
    with BatchMaker(cases, PatchConfig(), 0) as maker:
        parts = maker.batch(torch.tensor([1, 0, 2]), 0)

    assert [tuple(part.images.shape) for part in parts] == [(1, 1, 4, 3, 6), (2, 1, 2, 5, 3)]
    assert [part.images[:, 0, 0, 0, 0].tolist() for part in parts] == [[2.0], [1.0, 3.0]]
    assert all(bool(part.images.all()) and bool(part.masks.all()) for part in parts)


def test_a_patch_says_how_many_of_it_its_whole_volume_is():
    cases = [case((16, 16, 16)), case((16, 24, 8)), case((8, 8, 4))]
    with BatchMaker(cases, PatchConfig(shape=(8, 8, 8)), 0) as maker:
        (batch,) = maker.batch(torch.tensor([0, 1, 2]), 0)
    # The last volume is smaller than the patch, so that every patch holds all of it.
    assert batch.n_patches is not None and batch.n_patches.tolist() == [8, 6, 1]
    with BatchMaker(cases, PatchConfig(), 0) as maker:
        assert maker.batch(torch.tensor([0]), 0)[0].n_patches is None


def test_a_batch_may_be_changed_without_changing_the_case():
    one = case((2, 2, 2))
    collate([one])[0].zero_()

    assert one.image.all()


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one case"):
        collate([])


def test_channels_stay_channels():
    one = Case("s", np.stack([np.full((2, 3, 4), fill, np.float32) for fill in (1, 2)]), np.ones((2, 3, 4)))

    images, _ = collate([one, one])

    assert images.shape == (2, 2, 2, 3, 4)
    assert images[1, :, 0, 0, 0].tolist() == [1.0, 2.0]


def numbered(n: int) -> list[Case]:
    return [case((8, 8, 16), float(index)) for index in range(n)]


def epoch(n: int, size: int) -> tuple[torch.Tensor, ...]:
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return order.split(size)  # as the training loop does


def told_ahead(maker: BatchMaker, order: list[torch.Tensor]) -> Iterator[batches.Batch]:
    """Each batch, with the next one told before, as the training loop does."""
    for step, indices in enumerate(order):
        if step + 1 < len(order):
            maker.upcoming(order[step + 1], step + 1)
        (batch,) = maker.batch(indices, step)
        yield batch


@pytest.mark.parametrize("patch", [PatchConfig(), PatchConfig(shape=(8, 8, 8))])
@pytest.mark.parametrize("ahead", [True, False])
def test_batches_made_beforehand_are_those_that_are_asked_for(patch, ahead):
    order = [*epoch(5, 2), torch.tensor([4, 4]), *epoch(5, 2)]
    with (
        BatchMaker(numbered(5), patch, 3, ahead=ahead) as maker,
        BatchMaker(numbered(5), patch, 3, ahead=False) as plain,
    ):
        for step, found in enumerate(told_ahead(maker, order)):
            (expected,) = plain.batch(order[step], step)
            assert torch.equal(found.images, expected.images) and torch.equal(found.masks, expected.masks)
            assert found.images[:, 0, 0, 0, 0].tolist() == order[step].tolist()


def test_another_batch_than_the_one_that_was_told_is_right_all_the_same():
    with BatchMaker(numbered(5), PatchConfig(), 0) as maker:
        for step, (told, wanted) in enumerate([([1, 2], [0, 1]), ([3, 4], [1, 2]), ([0, 0], [2, 2])]):
            maker.upcoming(torch.tensor(told), step + 1)
            (found,) = maker.batch(torch.tensor(wanted), step)
            assert found.images[:, 0, 0, 0, 0].tolist() == wanted


def test_every_batch_that_was_told_of_was_made_beforehand(monkeypatch):
    made: list[str] = []
    stack = batches.stack

    def noted(cases):
        made.append(threading.current_thread().name)
        return stack(cases)

    monkeypatch.setattr(batches, "stack", noted)
    with BatchMaker(numbered(6), PatchConfig(), 0) as maker:
        list(told_ahead(maker, [*epoch(6, 2), *epoch(6, 2)]))

    assert [name.startswith("batches") for name in made] == [False] + [True] * 5
