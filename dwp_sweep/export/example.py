"""A scan that is nobody's: the example that a registered model carries, and a check of what it answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from dwp_sweep.data.files.volumes import write_volume

_SHAPE = (24, 24, 16)


def example_scan(n_channels: int) -> list[bytes]:
    """The bytes of a small NIfTI file for each channel: an ellipsoid in noise, 1 mm voxels."""
    axes = [np.linspace(-1.2, 1.2, size) for size in _SHAPE]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    noise = np.random.default_rng(0).normal(size=(n_channels, *_SHAPE))
    files = []
    with tempfile.TemporaryDirectory() as place:
        for number in range(n_channels):
            voxels = np.where(radius < 1, 100 + 10 * noise[number] + 40 * (radius < 0.4), 0)
            path = Path(place) / f"channel{number}.nii.gz"
            write_volume(path, voxels.astype(np.float32), np.eye(4))
            files.append(path.read_bytes())
    return files
