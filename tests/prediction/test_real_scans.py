"""A full-size brain as hospitals publish it, stored in two ways; skipped where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dwp_sweep
from tests.prediction.conftest import save_scan, voxels


@pytest.mark.slow
def test_a_turned_brain_gets_the_same_segmentation(storage, add_target, tmp_path):
    image = (
        Path(os.environ.get("DWP_SHARED_DATA", "../shared/data")).resolve() / "open_ms/patient07/FLAIR.nii.gz"
    )
    if not image.is_file():
        pytest.skip(f"no {image}; set DWP_SHARED_DATA")
    whole = nib.load(image)
    turned = nib.as_closest_canonical(whole).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    save_scan(tmp_path / "turned.nii.gz", np.asarray(turned.dataobj), turned.affine)
    key = add_target(
        preprocess={"shape": [152, 184, 144]}, target={"patch": {"shape": [80, 96, 80], "overlap": 0.25}}
    )

    one = dwp_sweep.predict(key, image, tmp_path / "a.nii.gz", storage=storage)
    dwp_sweep.predict(key, tmp_path / "turned.nii.gz", tmp_path / "b.nii.gz", storage=storage)

    first, second = (nib.as_closest_canonical(nib.load(tmp_path / f"{name}.nii.gz")) for name in "ab")
    assert 0 < one.mask.sum() < one.mask.size and one.unseen < 0.01
    assert voxels(tmp_path / "b.nii.gz").shape == turned.shape
    np.testing.assert_array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))
