from __future__ import annotations

import numpy as np
import pytest

from dwp_sweep.data.preprocess import background_value, bounding_box, foreground_mask


def block(background: float, inside: np.ndarray) -> np.ndarray:
    image = np.full((12, 12, 12), background, dtype=np.float32)
    image[3:9, 4:9, 2:11] = inside
    return image


@pytest.mark.parametrize("background", [0.0, -1024.0, 55.0])
def test_whatever_differs_from_the_constant_around_it_is_foreground(background):
    image = block(background, np.random.default_rng(0).uniform(100, 200, (6, 5, 9)))

    assert background_value(image) == background
    assert bounding_box(foreground_mask(image)) == np.s_[3:9, 4:9, 2:11]
    assert foreground_mask(image).sum() == 6 * 5 * 9


def test_negative_values_inside_a_standardised_scan_are_foreground():
    inside = np.random.default_rng(0).standard_normal((6, 5, 9))

    assert foreground_mask(block(0.0, inside)).sum() >= 0.99 * inside.size


def test_one_hot_voxel_does_not_hide_the_patient():
    image = block(0.0, np.random.default_rng(0).uniform(100, 200, (6, 5, 9)))
    image[5, 5, 5] = 1e7

    assert foreground_mask(image).sum() == 6 * 5 * 9


def test_a_crop_from_inside_the_head_has_no_background():
    image = np.random.default_rng(0).uniform(0, 1, (8, 8, 8)).astype(np.float32)

    assert background_value(image) is None
    assert foreground_mask(image).all()


def test_the_box_of_an_empty_mask_is_the_whole_volume():
    assert bounding_box(np.zeros((3, 4, 5), dtype=bool)) == np.s_[0:3, 0:4, 0:5]
