"""Lesion by lesion: how many of the truth's lesions a prediction touches, and how many it invents.

Scores of one image. Source: lesion-wise true positive rate of the MS lesion challenges (Carass et al. 2017);
there is no threshold on the overlap: one voxel is a hit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_CONNECTED = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a face, an edge or a corner are one lesion."""


class LesionDetection(NamedTuple):
    """Lesions of one image.

    Attributes:
        n_lesions: Lesions of the truth.
        n_hit: Those that share at least one voxel with the prediction.
        n_false: Connected parts of the prediction that touch no lesion.
    """

    n_lesions: int
    n_hit: int
    n_false: int

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that were hit, 0 to 1; NaN where the truth has none."""
        return self.n_hit / self.n_lesions if self.n_lesions else math.nan


def lesion_detection(predicted: NDArray[Any], truth: NDArray[Any]) -> LesionDetection:
    """Count lesions, hits and false ones.

    Args:
        predicted: (D, H, W), anything but 0 is foreground. One large part may hit many lesions.
        truth: (D, H, W).

    Raises:
        ValueError: If the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"masks of one image differ in shape: {predicted.shape} and {truth.shape}")
    n_lesions, n_hit = _touched(truth != 0, predicted != 0)
    n_parts, n_true = _touched(predicted != 0, truth != 0)
    return LesionDetection(n_lesions, n_hit, n_parts - n_true)


def _touched(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[int, int]:
    """How many connected parts a mask has, and how many of them share a voxel with the other mask."""
    parts, n_parts = ndimage.label(mask, _CONNECTED)
    return int(n_parts), int(np.unique(parts[mask & other]).size)
