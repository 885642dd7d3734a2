"""Confidence intervals of a mean paired difference: over splits, and over test subjects.

The two answer different questions and are never mixed. Knows nothing of methods and runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
N_RESAMPLES = 10_000


class Interval(NamedTuple):
    """Bounds of a confidence interval."""

    low: float
    high: float


def split_interval(means: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Student's t interval of the mean over splits.

    Every split has its own training scans and training run, so its mean difference carries the
    randomness of both. With three splits the interval is wide. Splits drawn from one pool share scans,
    which makes their means alike and the interval, if anything, too narrow (Nadeau and Bengio 2003).

    Args:
        means: One mean difference a split.
        level: Of confidence.

    Returns:
        None for fewer than two splits.
    """
    if len(means) < 2:
        return None
    from scipy.stats import t

    half = (
        float(t.ppf(0.5 + level / 2, len(means) - 1)) * float(np.std(means, ddof=1)) / math.sqrt(len(means))
    )
    centre = float(np.mean(means))
    return Interval(centre - half, centre + half)


def subject_interval(
    by_split: Sequence[Mapping[str, float]],
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap interval of the mean over splits of the mean difference over test subjects.

    Subjects are resampled, not their scores: one that is in the test sets of several splits is drawn
    for all of them at once, since its differences there are alike. The networks stay as they are, so
    this says how much other test subjects would move the result, and nothing of retraining.

    Args:
        by_split: Subject -> difference, one mapping a split.
        level: Of confidence.
        n_resamples: Draws; one that leaves a split without subjects is left out.
        seed: Of the draws: the same differences give the same interval.

    Returns:
        None for fewer than two subjects.
    """
    subjects = sorted({subject for split in by_split for subject in split})
    if len(subjects) < 2:
        return None
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(subjects), [1 / len(subjects)] * len(subjects), size=n_resamples)
    means = _weighted_means(by_split, subjects, weights.astype(np.float64))
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))


def _weighted_means(
    by_split: Sequence[Mapping[str, float]], subjects: Sequence[str], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean over splits for each row of weights (draws, subjects), without rows that leave a split empty."""
    present = np.array([[subject in split for split in by_split] for subject in subjects], dtype=np.float64)
    values = np.array([[split.get(subject, 0.0) for split in by_split] for subject in subjects])
    counts = weights @ present
    usable = (counts > 0).all(axis=1)
    means: NDArray[np.float64] = ((weights @ values)[usable] / counts[usable]).mean(axis=1)
    return means
