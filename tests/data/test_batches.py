from __future__ import annotations

import numpy as np
import pytest
import torch

from dwp_sweep.data.batches import collate
from dwp_sweep.data.cache import Case


def case(shape: tuple[int, int, int], fill: float = 1.0) -> Case:
    return Case("s", np.full((1, *shape), fill, dtype=np.float32), np.ones(shape, dtype=np.uint8))


def test_cases_of_one_shape_are_stacked():
    images, masks = collate([case((4, 5, 6), 1.0), case((4, 5, 6), 2.0)])

    assert (images.shape, images.dtype) == ((2, 1, 4, 5, 6), torch.float32)
    assert (masks.shape, masks.dtype) == ((2, 4, 5, 6), torch.int64)
    assert images[1].unique().tolist() == [2.0]


def test_smaller_cases_are_padded_with_background_at_the_end():
    images, masks = collate([case((2, 5, 3)), case((4, 3, 6))])

    assert images.shape == (2, 1, 4, 5, 6)
    assert images[0, 0, :2, :, :3].all() and masks[0, :2, :, :3].all()
    assert images[0].sum() == masks[0].sum() == 2 * 5 * 3
    assert masks[1].sum() == 4 * 3 * 6


def test_a_batch_may_be_changed_without_changing_the_case():
    one = case((2, 2, 2))
    collate([one])[0].zero_()

    assert one.image.all()


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one case"):
        collate([])
