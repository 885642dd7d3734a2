"""Scores of a test image in millimetres, millilitres and lesions, and their summary over images.

Beside overlap and calibration in `dwp_sweep.stages.evaluation`. An undefined score (a distance to an empty
mask, the share of no lesions) is None, stays out of mean and spread, and is counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwp_sweep.metrics.overlap import lesion_detection
from dwp_sweep.metrics.physical import surface_distance, volume_error_ml

CAN_BE_UNDEFINED = ("hd95_mm", "asd_mm", "lesion_sensitivity")


@dataclass(frozen=True)
class PhysicalScores:
    """One image, on the grid that the network saw.

    Attributes:
        hd95_mm: 95 % Hausdorff distance; 0 where both masks are empty, None where one is.
        asd_mm: Average symmetric surface distance; 0 and None likewise.
        lesion_sensitivity: Share of the truth's lesions that the prediction touches; None where it has none.
        n_lesions: Lesions of the truth.
        n_false_lesions: Parts of the prediction that touch no lesion.
        volume_error_ml: Absolute difference of the volumes.
    """

    hd95_mm: float | None
    asd_mm: float | None
    lesion_sensitivity: float | None
    n_lesions: int
    n_false_lesions: int
    volume_error_ml: float


def physical_scores(
    predicted: NDArray[Any], truth: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> PhysicalScores:
    """Scores of one image.

    Args:
        predicted: (D, H, W), anything but 0 is foreground.
        truth: (D, H, W).
        spacing_mm: Voxel size along D, H, W of this grid, after resampling.
    """
    distance = surface_distance(predicted, truth, spacing_mm)
    lesions = lesion_detection(predicted, truth)
    return PhysicalScores(
        hd95_mm=_defined(distance.hd95_mm),
        asd_mm=_defined(distance.asd_mm),
        lesion_sensitivity=_defined(lesions.sensitivity),
        n_lesions=lesions.n_lesions,
        n_false_lesions=lesions.n_false,
        volume_error_ml=volume_error_ml(predicted, truth, spacing_mm),
    )


def summarise_physical(scores: Sequence[PhysicalScores], prefix: str) -> dict[str, float]:
    """Mean, sample standard deviation (``_std``) and number of undefined images of each score.

    Where no image defines a score its mean is left out, where fewer than two do its spread; the number of
    undefined ones is always there.
    """
    metrics: dict[str, float] = {}
    for name in (*CAN_BE_UNDEFINED, "volume_error_ml", "n_false_lesions"):
        values = [value for one in scores if (value := getattr(one, name)) is not None]
        named = f"{prefix}_{name.removeprefix('n_')}"
        if values:
            metrics[named] = float(np.mean(values))
        if len(values) > 1:
            metrics[f"{named}_std"] = float(np.std(values, ddof=1))
        if name in CAN_BE_UNDEFINED:
            metrics[f"n_{named}_undefined"] = float(len(scores) - len(values))
    return metrics


def physical_json(scores: PhysicalScores | None) -> dict[str, float | None]:
    """By name; an undefined score is there as None."""
    return {} if scores is None else asdict(scores)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
