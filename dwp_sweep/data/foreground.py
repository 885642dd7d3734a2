"""Where in a scan the patient is: everything that differs from a constant background.

Used before intensities are scaled. Zero is no safe marker: skull-stripped scans carry small
negative values at the rim of the brain from interpolation, CT is padded with -1024, and a crop from
inside the head has no background at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_BORDER_SHARE = 0.1
"""A value is background when it fills at least this share of the volume's six faces."""

_TOLERANCE = 1e-3


def background_value(image: NDArray[np.float32]) -> float | None:
    """The constant around the patient, or None where the scan has none.

    Args:
        image: (D, H, W).
    """
    faces = [image.take(index, axis).ravel() for axis in range(3) for index in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    if counts.max() < MIN_BORDER_SHARE * counts.sum():
        return None
    return float(values[counts.argmax()])


def foreground_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(D, H, W) bool: voxels off the background by more than a thousandth of the patient's own range."""
    background = background_value(image)
    if background is None:
        return np.ones(image.shape, dtype=bool)
    off = image != background
    if not off.any():
        return np.ones(image.shape, dtype=bool)
    low, high = np.percentile(image[off], (1, 99))
    # The range of the patient, not of the volume: one hot voxel must not hide the rest.
    scale = max(float(high - low), abs(float(high) - background), abs(float(low) - background))
    return np.asarray(np.abs(image - np.float32(background)) > _TOLERANCE * scale)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Smallest box around the True voxels of a (D, H, W) mask; the whole volume where there are none."""
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1]), slice(0, mask.shape[2])
    first, second, third = (np.flatnonzero(mask.any(axis=rest)) for rest in ((1, 2), (0, 2), (0, 1)))
    return (
        slice(int(first[0]), int(first[-1]) + 1),
        slice(int(second[0]), int(second[-1]) + 1),
        slice(int(third[0]), int(third[-1]) + 1),
    )
