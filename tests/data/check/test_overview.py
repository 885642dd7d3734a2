from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.check.overview import write_overview
from dwp_sweep.data.placement import fullest_slice


def test_the_picture_shows_the_outline_of_the_mask(tmp_path):
    image = np.random.default_rng(0).normal(size=(1, 12, 14, 10)).astype(np.float32)
    mask = np.zeros((12, 14, 10), dtype=np.uint8)
    full = mask.copy()
    full[4:8, 4:8, 4:8] = 1

    write_overview([Case("ill", image, full, (1.0, 1.0, 3.0)), Case("well", image, mask)], tmp_path / "o.png")
    drawn = matplotlib.image.imread(tmp_path / "o.png")
    red = (drawn[..., 0] > 0.8) & (drawn[..., 2] < 0.4)

    half = len(drawn) // 2
    assert red[:half].sum() > 100
    assert red[half:].sum() == 0


def test_cases_of_another_orientation_look_the_same(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 12, 14, 10)).astype(np.float32)
    mask = np.zeros((12, 14, 10), dtype=np.uint8)
    mask[2:6, 4:9, 3:5] = 1
    write_overview([Case("s", image, mask, (1.0, 2.0, 3.0))], tmp_path / "ras.png", notes={"s": "a note"})

    turned = Case("s", image.transpose(0, 3, 1, 2)[:, ::-1], mask.transpose(2, 0, 1)[::-1], (3.0, 1.0, 2.0))
    write_overview([turned], tmp_path / "ira.png", notes={"s": "a note"}, orientation="IRA")

    one, other = (matplotlib.image.imread(tmp_path / name) for name in ("ras.png", "ira.png"))
    np.testing.assert_array_equal(one, other)


def test_the_slice_with_most_foreground_is_chosen():
    mask = np.zeros((5, 6, 7), dtype=np.uint8)
    mask[1, 2, 3], mask[4, 2:5, 3] = 1, 1

    assert [fullest_slice(mask, axis) for axis in range(3)] == [4, 2, 3]
    assert [fullest_slice(np.zeros_like(mask), axis) for axis in range(3)] == [2, 3, 3]


def test_a_picture_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one case"):
        write_overview([], tmp_path / "o.png")
