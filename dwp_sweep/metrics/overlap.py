"""Overlap of a predicted mask with the truth: Dice and intersection over union, and lesions hit and missed.

Scores of one image, used in validation and in the final evaluation; stages and reports average over images
and splits. Source: Section 2.5 of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

Mask = Tensor | npt.NDArray[Any]
"""Truth values or numbers, where anything but 0 is foreground."""

_CONNECTED = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a face, an edge or a corner are one lesion."""


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


def of_class(name: str, class_name: str) -> str:
    """Name of one class's part of a score: ``test_dice`` of core is ``test_dice.core``.

    No file store of MLflow could hold ``test_dice/core`` beside ``test_dice``.
    """
    return f"{name}.{class_name}"


def overlap_row(pred: Mask, truth: Mask, classes: Sequence[str] = ()) -> dict[str, float]:
    """Scores of one image by name.

    A class that neither mask has scores 1, as an empty image does; a class that one of them has scores 0.

    Args:
        pred: Predicted mask, any shape; with classes their numbers from 1.
        truth: True mask of the same shape.
        classes: Names of the classes 1, 2, ...; none where all that is not 0 is one foreground.

    Returns:
        ``dice``, ``iou`` and ``empty``; with classes their means over the classes (``empty``: no class is
        there), and each class's own scores (`of_class`).
    """
    if not classes:
        return asdict(overlap(pred, truth))
    scores = {name: overlap(pred == number, truth == number) for number, name in enumerate(classes, 1)}
    row: dict[str, float] = {
        "dice": fmean(each.dice for each in scores.values()),
        "iou": fmean(each.iou for each in scores.values()),
        "empty": all(each.empty for each in scores.values()),
    }
    for class_name, each in scores.items():
        row |= {of_class("dice", class_name): each.dice, of_class("iou", class_name): each.iou}
    return row


def overlap_means(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Means of validation images by name, as ``val_dice``; without their emptiness.

    Args:
        rows: Of `overlap_row`.
    """
    rows = list(rows)
    names = [name for name in rows[0] if name != "empty"] if rows else []
    return {f"val_{name}": float(np.mean([row[name] for row in rows])) for name in names}


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


def _count(mask: Mask) -> int:
    return int(mask.sum()) if isinstance(mask, Tensor) else int(np.count_nonzero(mask))


def _touched(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[int, int]:
    """How many connected parts a mask has, and how many of them share a voxel with the other mask."""
    parts, n_parts = ndimage.label(mask, _CONNECTED)
    return int(n_parts), int(np.unique(parts[mask & other]).size)
