"""Scores of two masks in millimetres and millilitres: distances between their surfaces, and their volumes.

Of one image, from masks and the size of a voxel; averaging over images is done elsewhere. Source of the
definitions: Reinke et al., "Understanding metric-related pitfalls in image analysis validation" (2024);
the distances are those of MONAI's symmetric forms.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

PERCENTILE = 95

_MM3_PER_ML = 1000.0

Mask = NDArray[Any]
"""Truth values or numbers, where anything but 0 is foreground."""

Spacing = tuple[float, float, float]
"""Voxel size along each axis, mm."""


class SurfaceDistance(NamedTuple):
    """How far two surfaces lie apart, mm.

    Attributes:
        hd95_mm: The larger of the two 95th percentiles of the distances from one surface to the other.
        asd_mm: Mean distance to the other surface over the voxels of both surfaces.
    """

    hd95_mm: float
    asd_mm: float


def surface_distance(predicted: Mask, truth: Mask, spacing_mm: Spacing) -> SurfaceDistance:
    """Distances between the surfaces of two masks.

    A surface is the foreground voxels with a face to the background or to the volume's border; a distance is
    that of voxel centres.

    Args:
        predicted: (D, H, W).
        truth: (D, H, W).
        spacing_mm: Voxel size along D, H, W.

    Returns:
        Both 0 where both masks are empty: they agree. Both NaN where only one is: nothing to measure to.

    Raises:
        ValueError: If the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"masks of one image differ in shape: {predicted.shape} and {truth.shape}")
    ours, theirs = _surface_mm(predicted != 0, spacing_mm), _surface_mm(truth != 0, spacing_mm)
    if len(ours) == 0 or len(theirs) == 0:
        agreement = 0.0 if len(ours) == len(theirs) else math.nan
        return SurfaceDistance(agreement, agreement)
    there, back = KDTree(theirs).query(ours)[0], KDTree(ours).query(theirs)[0]
    hd95 = max(np.percentile(there, PERCENTILE), np.percentile(back, PERCENTILE))
    return SurfaceDistance(float(hd95), float(np.concatenate([there, back]).mean()))


def volume_ml(mask: NDArray[Any], spacing_mm: tuple[float, float, float]) -> float:
    """Volume of the foreground (anything but 0), given the voxel size along each axis in mm."""
    return float(np.count_nonzero(mask) * np.prod(spacing_mm) / _MM3_PER_ML)


def volume_error_ml(
    predicted: NDArray[Any], truth: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> float:
    """Absolute difference of the two volumes; defined for empty masks too.

    Args:
        predicted: (D, H, W).
        truth: (D, H, W).
        spacing_mm: Voxel size along D, H, W.
    """
    return abs(volume_ml(predicted, spacing_mm) - volume_ml(truth, spacing_mm))


def _surface_mm(mask: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.float64]:
    """Centres of the surface's voxels (n, 3), mm."""
    inner = ndimage.binary_erosion(mask)  # what lies beyond the volume counts as background
    return np.asarray(np.argwhere(mask & ~inner) * np.asarray(spacing_mm), dtype=np.float64)
