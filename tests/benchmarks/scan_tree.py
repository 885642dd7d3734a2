"""A data set of any number of scans that look alike and count as different: for benches of size alone.

One scan is made; its copies differ by an empty member at the end of the compressed file, which changes the
file's bytes and no voxel.
"""

from __future__ import annotations

import gzip
import io
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.files.volumes import write_volume

Voxels = tuple[int, int, int]


@dataclass(frozen=True)
class ScanScale:
    """How large scans are, in voxels.

    Attributes:
        scan: As stored.
        input: As the network sees them.
    """

    scan: Voxels
    input: Voxels

    @property
    def bytes_each(self) -> int:
        """On disk, at most: the scan's file and its entry in the cache."""
        return 2 * math.prod(self.scan) + 5 * math.prod(self.input)


def write_tree(root: Path, n_subjects: int, scale: ScanScale) -> DatasetConfig:
    """Write subjects in the layout of BraTS.

    Args:
        root: Folder; made if missing.
        n_subjects: How many.
        scale: Of each.
    """
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        image, mask = _files(scale.scan, Path(folder))
    for number in range(n_subjects):
        patient = root / f"patient_{number:04}"
        patient.mkdir(parents=True)
        ending = _empty_member(number)
        (patient / f"{patient.name}_t2.nii.gz").write_bytes(image + ending)
        (patient / f"{patient.name}_seg.nii.gz").write_bytes(mask + ending)
    return DatasetConfig(layout="brats", root=str(root), preprocess=PreprocessConfig(shape=scale.input))


def _files(shape: Voxels, folder: Path) -> tuple[bytes, bytes]:
    """An ellipsoid with noise and a ball in it, on the background 0."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    radius = np.sqrt(sum(axis**2 for axis in axes))
    noise = np.random.default_rng(0).integers(0, 64, shape, dtype=np.int16)
    image = np.where(radius < 0.75, 300 + noise, 0).astype(np.int16)
    mask = (radius < 0.2).astype(np.uint8)
    return _bytes(folder / "image.nii.gz", image), _bytes(folder / "mask.nii.gz", mask)


def _bytes(path: Path, voxels: NDArray[np.int16] | NDArray[np.uint8]) -> bytes:
    write_volume(path, voxels, np.eye(4))
    return path.read_bytes()


def _empty_member(number: int) -> bytes:
    written = io.BytesIO()
    with gzip.GzipFile(filename=f"{number}", mode="wb", fileobj=written, mtime=0):
        pass
    return written.getvalue()
