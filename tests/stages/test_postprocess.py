from __future__ import annotations

import numpy as np
import pytest

from dwp_sweep.stages.prediction import PostprocessConfig, clean_mask


@pytest.fixture
def mask() -> np.ndarray:
    """Pieces of 8, 4 and 1 voxels; those of the second touch by corners alone."""
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[0:2, 0:2, 0:2] = True
    mask[5, 5, 5] = mask[6, 6, 6] = mask[7, 7, 7] = mask[7, 8, 7] = True
    mask[9, 0, 9] = True
    return mask


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 13),
        ({"largest_component": True}, 8),
        ({"min_lesion_voxels": 4}, 12),
        ({"min_lesion_voxels": 5}, 8),
        ({"min_lesion_voxels": 9}, 0),
        ({"min_lesion_ml": 0.008}, 12),  # 2 mm3 a voxel: 4 voxels are just that
        ({"min_lesion_ml": 0.0081}, 8),
        ({"largest_component": True, "min_lesion_voxels": 9}, 0),
    ],
)
def test_pieces_are_dropped_by_their_size(mask, settings, kept):
    assert clean_mask(mask, PostprocessConfig(**settings), (1.0, 2.0, 1.0)).sum() == kept


def test_by_default_and_without_foreground_nothing_changes(mask):
    assert clean_mask(mask, PostprocessConfig(), (1, 1, 1)) is mask
    empty = np.zeros_like(mask)
    assert not clean_mask(empty, PostprocessConfig(largest_component=True), (1, 1, 1)).any()
