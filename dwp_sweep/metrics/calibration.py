"""Whether the probabilities of a segmentation can be believed: calibration, uncertainty, predicted Dice.

Scores of one image, from the probabilities of background and foreground, computed in float64 by the final
evaluation. Likelihood and entropy also take those of several classes.
Voxels far from any foreground are easy and many; scores that average over voxels are meant for those that
`near_foreground` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

N_BINS = 15
"""Equal-width bins of the foreground probability, as in Guo et al. (2017)."""

Probs = NDArray[np.floating[Any]]
"""Probabilities ``(2, ...)``, background first; two rows, because 1 - p loses what float32 says near 1."""
Mask = NDArray[Any]
"""Truth values or numbers, where anything but 0 is foreground."""
Region = NDArray[np.bool_]
Floats = NDArray[np.float64]


def near_foreground(truth: Mask, radius_voxels: float) -> Region:
    """Voxels within a distance of the true foreground, the foreground included.

    The truth alone decides, so that all networks are judged by the same voxels: a region that grew with a
    network's false positives would give it easy voxels around them.

    Args:
        truth: Mask (D, H, W).
        radius_voxels: Largest Euclidean distance, counted in voxels whatever their size in millimetres.

    Returns:
        Region (D, H, W); the whole volume where the truth is empty.
    """
    foreground = np.asarray(truth != 0)
    if not foreground.any():
        return np.ones(foreground.shape, dtype=np.bool_)
    # The box holds all foreground, so distances inside are those of the volume, at a part of the cost.
    box = _box_around(foreground, int(np.ceil(radius_voxels)))
    near = np.zeros(foreground.shape, dtype=np.bool_)
    near[box] = ndimage.distance_transform_edt(~foreground[box]) <= radius_voxels
    return near


def brier_score(probs: Probs, truth: Mask) -> float:
    """Mean over voxels of ``(p - y)**2`` for the foreground's p: 0 to 1, and 1/4 for p = 1/2.

    The form for two classes; the sum over both is twice it. Source: Brier (1950).
    """
    return float(np.mean((probs[1].astype(np.float64) - (truth != 0)) ** 2))


def negative_log_lik(probs: Probs, truth: Mask) -> float:
    """Mean over voxels of ``-log`` of the true class's probability, in nats.

    Args:
        probs: (n_classes, ...), background first.
        truth: With two classes anything but 0 is the second, with more their numbers.
    """
    if len(probs) == 2:
        return float(-_log(np.where(truth != 0, probs[1], probs[0])).mean())
    return float(-_log(np.take_along_axis(probs, truth[None].astype(np.intp), axis=0)).mean())


def entropy(probs: Probs) -> Floats:
    """Predictive entropy of each voxel in nats: 0 where the network is sure, log 2 at p = 1/2."""
    return np.asarray(-(probs.astype(np.float64) * _log(probs)).sum(axis=0))


@dataclass(frozen=True, eq=False)
class Reliability:
    """Voxels counted by their foreground probability; sums of several images pool their voxels.

    Attributes:
        counts: Voxels in each bin (n_bins,); bin b holds p in [b / n_bins, (b + 1) / n_bins), the last 1 too.
        probs: Sum of their probabilities (n_bins,).
        foreground: How many of them are foreground in truth (n_bins,).
    """

    counts: Floats
    probs: Floats
    foreground: Floats

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(
            self.counts + other.counts, self.probs + other.probs, self.foreground + other.foreground
        )

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1.

        ``sum over bins of (share of voxels) * |mean probability - share of foreground|``. Never below 0,
        so perfect probabilities score about the sampling error of the bins. Source: Naeini et al. (2015)
        with the foreground's probability as the confidence, not that of the likelier class.
        """
        return float(np.abs(self.probs - self.foreground).sum() / self.counts.sum())


def reliability(probs: Probs, truth: Mask, n_bins: int = N_BINS) -> Reliability:
    """Bin the voxels of one image.

    In float64 sums, where `monai.metrics.calibration_binning` adds up in float32.

    Raises:
        ValueError: There are no voxels.
    """
    foreground = probs[1].astype(np.float64).ravel()
    if not foreground.size:
        raise ValueError("no voxels to judge a calibration by")
    bins = np.minimum((foreground * n_bins).astype(np.int64), n_bins - 1)
    weights = (None, foreground, (truth != 0).ravel())
    sums = [np.bincount(bins, weights=weight, minlength=n_bins).astype(np.float64) for weight in weights]
    return Reliability(*sums)


def expected_dice(probs: Probs, predicted: Mask) -> float:
    """The Dice that the probabilities themselves promise for a mask, without any truth.

    ``2 sum over the mask of p / (number of voxels in the mask + sum of p)``: the ratio of the expectations
    of both terms when voxels are drawn independently; errors of neighbours go together, so a promise, not
    a guarantee. For an empty mask it is ``prod (1 - p)``, the probability that the truth is empty too.
    Source: Li et al. (2022), "Estimating Model Performance under Domain Shifts with Class-Specific
    Confidence Scores", who estimate the Dice coefficient so; the case of an empty mask is ours.

    Args:
        probs: Of the whole volume: where the truth lies is not known here.
        predicted: Mask of the same volume.
    """
    mask = predicted != 0
    if not mask.any():
        return float(np.exp(_log(probs[0]).sum()))
    foreground = probs[1].astype(np.float64)
    return float(2 * foreground[mask].sum() / (mask.sum() + foreground.sum()))


def correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson correlation; None where there is none to speak of: fewer than 3 pairs, or one side constant."""
    if len(first) < 3:
        return None
    sides = [np.asarray(side, dtype=np.float64) - np.mean(side) for side in (first, second)]
    lengths = [float(np.linalg.norm(side)) for side in sides]
    if min(lengths) < 1e-9:
        return None
    return float(np.clip(sides[0] @ sides[1] / (lengths[0] * lengths[1]), -1, 1))


def _box_around(mask: Region, margin: int) -> tuple[slice, ...]:
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)


def _log(probs: Probs) -> Floats:
    """Logarithm in float64; a probability that float32 cannot tell from 0 counts as its smallest number."""
    return np.asarray(np.log(np.maximum(probs.astype(np.float64), np.finfo(np.float32).tiny)))
