"""Overlap of a predicted mask with the truth: Dice and intersection over union of one image.

Used in validation and in the final evaluation; averaging over images and splits is done elsewhere.
Source: Section 2.5 of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

Mask = Tensor | npt.NDArray[Any]
"""Truth values or numbers, where anything but 0 is foreground."""


@dataclass(frozen=True)
class Overlap:
    """Scores of one image.

    Attributes:
        dice: ``2 |A and B| / (|A| + |B|)``, 0 to 1.
        iou: ``|A and B| / |A or B|``, 0 to 1.
        empty: Neither mask has foreground; both scores are then 1 by definition.
    """

    dice: float
    iou: float
    empty: bool


def overlap(pred: Mask, truth: Mask) -> Overlap:
    """Scores of one image.

    Args:
        pred: Predicted mask, any shape.
        truth: True mask of the same shape; both tensors or both arrays.

    Raises:
        ValueError: If the shapes differ.
    """
    if tuple(pred.shape) != tuple(truth.shape):
        raise ValueError(f"masks of one image differ in shape: {tuple(pred.shape)} and {tuple(truth.shape)}")
    pred, truth = pred != 0, truth != 0
    n_both = _count(pred & truth)
    n_sum = _count(pred) + _count(truth)
    if n_sum == 0:
        return Overlap(1.0, 1.0, empty=True)
    return Overlap(2 * n_both / n_sum, n_both / (n_sum - n_both), empty=False)


def _count(mask: Mask) -> int:
    return int(mask.sum()) if isinstance(mask, Tensor) else int(np.count_nonzero(mask))
