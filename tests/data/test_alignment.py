"""Orientations and slices of source and target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwp_sweep.data.alignment import orientation_warnings, slice_warnings
from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.leakage import TaskScans, read_task


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("SRA", "RAS", "up-down meets left-right, left-right meets front-back, front-back meets up-down"),
        ("RAS", "LAS", "an axis runs the other way"),
    ],
)
def test_orientations_that_differ_are_a_warning_with_its_reason(source: str, target: str, says: str) -> None:
    one, other = (
        DatasetConfig(layout="ms", preprocess=PreprocessConfig(orientation=axes)) for axes in (source, target)
    )

    (warning,) = orientation_warnings(one, other)
    assert f"is {source} in the source and {target} in the target" in warning.what and says in warning.what
    assert orientation_warnings(one, one) == ()


@pytest.fixture
def task(tmp_path: Path, write_scan, image, mask):
    def make(affine: Any, **preprocess: Any) -> TaskScans:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        write_scan(root / "p" / "FLAIR.nii.gz", image(1), affine)
        write_scan(root / "p" / "mask.nii.gz", mask(), affine)
        config = DatasetConfig(layout="ms", root=str(root), preprocess=PreprocessConfig(**preprocess))
        return read_task(config, tmp_path / "cache")

    return make


AXIAL = np.diag([-0.5, -0.5, 6, 1])
SAGITTAL = np.array([[0, 0, 5, 0], [0.9, 0, 0, 0], [0, -0.9, 0, 0], [0, 0, 0, 1]])
"""Voxel axes point to front, bottom and right; slices lie 5 mm apart."""


def test_thick_slices_along_different_axes_of_the_input_are_a_warning(task) -> None:
    (warning,) = slice_warnings(task(SAGITTAL), task(AXIAL))
    assert "left-right (5 mm of 0.9) in the source and up-down (6 mm of 0.5) in the target" in warning.what


def test_thick_slices_along_one_axis_and_thin_ones_are_fine(task) -> None:
    assert slice_warnings(task(AXIAL), task(np.diag([1, 1, 3, 1]))) == ()
    assert slice_warnings(task(SAGITTAL), task(np.diag([1, 1, 1.5, 1]))) == ()
    assert slice_warnings(task(SAGITTAL, orientation="SAR"), task(AXIAL)) == ()
    assert slice_warnings(task(SAGITTAL, spacing_mm=(1, 1, 1)), task(AXIAL)) == ()
    assert slice_warnings(task(AXIAL), task(AXIAL, spacing_mm=(3, 1, 1))) != ()
