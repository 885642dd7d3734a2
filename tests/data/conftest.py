"""Tiny data sets, written as a user's would lie on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.data.editions import write_edition

SHAPE = (10, 12, 8)

WriteScan = Callable[..., Path]
WriteSet = Callable[..., Path]


def _image(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A bright block with some texture inside a background of zeros."""
    image = np.zeros(shape, dtype=np.float32)
    inner = tuple(slice(2, n - 1) for n in shape[:3])
    image[inner] = np.random.default_rng(seed).uniform(50, 100, size=image[inner].shape)
    return image


def _mask(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[4:6, 4:8, 3:6] = 1
    mask[6, 4:8, 3:6] = 2
    return mask


@pytest.fixture
def image() -> Callable[..., np.ndarray]:
    return _image


@pytest.fixture
def mask() -> Callable[..., np.ndarray]:
    return _mask


@pytest.fixture
def write_scan() -> WriteScan:
    """``write_scan(path, voxels, affine=identity)`` through nibabel itself, not through our writer."""

    def write(path: Path, voxels: Any, affine: Any = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.asarray(voxels), np.eye(4) if affine is None else affine), path)
        return path

    return write


@pytest.fixture
def write_msd(write_scan: WriteScan) -> WriteSet:
    """``write_msd(root, n, **extra)``: subjects ``case_00`` ... with labels 0, 1, 2."""

    def write(root: Path, n: int = 3, labels: dict[str, str] | None = None) -> Path:
        training = []
        for index in range(n):
            name = f"case_{index:02d}.nii.gz"
            write_scan(root / "imagesTr" / name, _image(index))
            write_scan(root / "labelsTr" / name, _mask())
            training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
        names = labels or {"0": "background", "1": "one", "2": "two"}
        (root / "dataset.json").write_text(json.dumps({"labels": names, "training": training}))
        return root

    return write


@pytest.fixture
def write_brats() -> WriteSet:
    """``write_brats(root, edition, folder=None)``: one subject with four modalities."""
    return write_edition


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """Folder of the real scans; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("DWP_SHARED_DATA", "../shared/data")).resolve()
    if not root.is_dir():
        pytest.skip(f"no real scans in {root}; set DWP_SHARED_DATA")
    return root
