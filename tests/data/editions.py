"""The editions of BraTS: how their folders and files are named, and a tiny subject of each."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

EDITIONS = {
    2018: ("HGG/Brats18_TCIA_1_1", "_{}.nii.gz", ("t1", "t1ce", "t2", "flair"), 4),
    2019: ("LGG/BraTS19_TCIA_2_1", "_{}.nii.gz", ("t1", "t1ce", "t2", "flair"), 4),
    2020: ("BraTS20_Training_001", "_{}.nii", ("t1", "t1ce", "t2", "flair"), 4),
    2021: ("BraTS2021_00000", "_{}.nii.gz", ("t1", "t1ce", "t2", "flair"), 4),
    2023: ("BraTS-GLI-00000-000", "-{}.nii.gz", ("t1n", "t1c", "t2w", "t2f"), 3),
}
"""A folder, its files' ending, modalities in one order, and the value of the enhancing tumour."""

SHAPE = (20, 18, 16)


def write_edition(root: Path, edition: int, folder: str | None = None, seed: int = 0) -> Path:
    """One subject with four modalities, each of its own texture; the lesion is bright in all of them."""
    usual, ending, modalities, enhancing = EDITIONS[edition]
    patient = root / (folder or usual)
    patient.mkdir(parents=True)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[6:11, 6:12, 5:10] = 2
    labels[7:9, 7:9, 6:8] = enhancing
    for index, modality in enumerate(modalities):
        image = np.zeros(SHAPE, dtype=np.float32)
        rng = np.random.default_rng([seed, index])
        image[3:17, 3:16, 2:14] = rng.uniform(50, 100, size=(14, 13, 12))
        _save(image + 60 * (labels > 0), patient / (patient.name + ending.format(modality)))
    _save(labels, patient / (patient.name + ending.format("seg")))
    return patient


def _save(voxels: np.ndarray, path: Path) -> None:
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
