"""Scores of two masks in millimetres, millilitres and lesions, of one image and summed up over images.

An undefined score (a distance to an empty mask, the share of no lesions) is None, stays out of mean and
spread, and is counted. Source of the definitions: Reinke et al., "Understanding metric-related pitfalls in
image analysis validation" (2024); the distances are those of MONAI's symmetric forms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from dwp_sweep.metrics.overlap import lesion_detection

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
        values = [value for score in scores if (value := getattr(score, name)) is not None]
        named = f"{prefix}_{name.removeprefix('n_')}"
        if values:
            metrics[named] = float(np.mean(values))
        if len(values) > 1:
            metrics[f"{named}_std"] = float(np.std(values, ddof=1))
        if name in CAN_BE_UNDEFINED:
            metrics[f"n_{named}_undefined"] = float(len(scores) - len(values))
    return metrics


def mean_over_classes(scores: Sequence[PhysicalScores]) -> PhysicalScores:
    """Scores of one image with several classes: means over the classes; counts are sums.

    A distance is undefined where that of any class is: a class that a network misses altogether must not make
    its mean better. Sensitivity is the mean over the classes that the truth has.

    Args:
        scores: One a class, at least one.
    """

    def mean(name: str) -> float | None:
        values = [getattr(each, name) for each in scores]
        return None if None in values else float(np.mean(values))

    sensitivities = [one for each in scores if (one := each.lesion_sensitivity) is not None]
    return PhysicalScores(
        hd95_mm=mean("hd95_mm"),
        asd_mm=mean("asd_mm"),
        lesion_sensitivity=float(np.mean(sensitivities)) if sensitivities else None,
        n_lesions=sum(each.n_lesions for each in scores),
        n_false_lesions=sum(each.n_false_lesions for each in scores),
        volume_error_ml=float(np.mean([each.volume_error_ml for each in scores])),
    )


def physical_json(scores: PhysicalScores | None) -> dict[str, float | None]:
    """By name; an undefined score is there as None."""
    return {} if scores is None else asdict(scores)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
