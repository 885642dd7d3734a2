from __future__ import annotations

import numpy as np
import pytest

from dwp_sweep.data.cache.cases import VOXEL_SIZE, Case, is_unlike, median_voxel_size, stored_voxel_size


def case(spacing_mm: tuple[float, float, float]) -> Case:
    return Case("s", np.zeros((1, 2, 2, 2), np.float32), np.zeros((2, 2, 2), np.uint8), spacing_mm)


def test_the_median_is_taken_axis_by_axis():
    cases = [case((1.0, 2.0, 9.0)), case((3.0, 1.0, 5.0)), case((2.0, 3.0, 5.0))]
    assert median_voxel_size(cases) == (2.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("scan", "unlike"),
    [((1, 1, 5), False), ((1.25, 0.8, 5), False), ((1.26, 1, 5), True), ((1, 1, 3.9), True)],
)
def test_a_quarter_more_or_less_along_any_axis_is_another_voxel(scan, unlike):
    assert is_unlike(scan, (1.0, 1.0, 5.0)) is unlike
    assert is_unlike((1.0, 1.0, 5.0), scan) is unlike


def test_networks_from_before_it_was_kept_have_none():
    assert stored_voxel_size({"epoch": 3}) is None
    assert stored_voxel_size({VOXEL_SIZE: [1, 2, 3.5]}) == (1.0, 2.0, 3.5)
