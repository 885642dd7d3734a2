"""Volume of a mask in millilitres, and how far a prediction's is off.

A score of one image that does not see where the foreground lies: report it beside an overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MM3_PER_ML = 1000.0


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
