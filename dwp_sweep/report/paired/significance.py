"""How sure paired differences are: intervals over splits and subjects, Wilcoxon's test, Holm's correction.

Two chances are kept apart. An interval over splits speaks of training again on other scans; an interval and a
test over subjects speak of other test scans for these very networks. The test works on one difference a
subject (its mean over the splits that test it), so that its values are independent.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
LEVEL = 0.95
N_RESAMPLES = 10_000
_N_EFFECT_RESAMPLES = 2_000

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Bounds of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test of paired differences against 0.

    Attributes:
        p: Two-sided; 1 where no difference differs from 0.
        n: Subjects.
        n_untied: Subjects whose difference is not 0; the test sees these alone.
        rank_biserial: Matched-pairs rank-biserial correlation, -1 to 1: the share of the rank sum that is
            positive minus the share that is negative (Kerby 2014); 0 where all are 0.
        interval: Its 95 % bootstrap interval over subjects; None for fewer than two subjects.
        smallest_p: The least that the test can give for so many subjects: all on one side.
    """

    p: float
    n: int
    n_untied: int
    rank_biserial: float
    interval: Interval | None
    smallest_p: float

    @property
    def can_tell(self) -> bool:
        """Whether so many subjects could ever reach the level, uncorrected."""
        return self.smallest_p <= ALPHA


def split_interval(means: Sequence[float], level: float = LEVEL, correlation: float = 0.0) -> Interval | None:
    """Student's t interval of the mean over splits, for splits that share subjects corrected.

    Every split has its own training scans and training run, so its mean difference carries the
    randomness of both. Splits drawn from one pool share subjects, which makes their means alike: their
    spread s is then too small, and the plain interval too narrow. Where two means have the correlation
    rho, the variance of their mean over J splits is s^2 (1/J + rho / (1 - rho)) instead of s^2 / J
    (Nadeau and Bengio 2003). With rho = n_test / (n_test + n_train) that is their
    1/J + n_test / n_train.

    Args:
        means: One mean difference a split.
        level: Of confidence.
        correlation: Of two splits' means, at least 0 and below 1; see `shared_share`.

    Returns:
        None for fewer than two splits.
    """
    if len(means) < 2:
        return None
    from scipy.stats import t

    factor = 1 / len(means) + correlation / (1 - correlation)
    half = float(t.ppf(0.5 + level / 2, len(means) - 1)) * float(np.std(means, ddof=1)) * math.sqrt(factor)
    centre = float(np.mean(means))
    return Interval(centre - half, centre + half)


def shared_share(tests: Sequence[Collection[str]]) -> float:
    """The share of their test subjects that two splits have in common, the mean over all pairs of splits.

    It is the correlation of two splits' means as far as the test subjects make them differ. Nadeau and
    Bengio have n_test / (n_test + n_train) in its place, which is what to expect where each split trains on
    all scans that it does not test; a sweep trains on few of many, which share less.

    Args:
        tests: Test subjects of each split.
    """
    pairs = list(combinations(map(frozenset, tests), 2))
    shares = [len(one & other) / math.sqrt(len(one) * len(other)) for one, other in pairs if one and other]
    return float(np.mean(shares)) if shares else 0.0


def subject_interval(
    by_split: Sequence[Mapping[str, float]],
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    patients: Mapping[str, str] | None = None,
) -> Interval | None:
    """Percentile bootstrap interval of the mean over splits of the mean difference over test subjects.

    Subjects are resampled, not their scores: one that is in the test sets of several splits is drawn
    for all of them at once, since its differences there are alike; so are all scans of a patient. The
    networks stay as they are, so this says how much other test subjects would move the result, and nothing
    of retraining.

    Args:
        by_split: Subject -> difference, one mapping a split.
        level: Of confidence.
        n_resamples: Draws; one that leaves a split without subjects is left out.
        seed: Of the draws: the same differences give the same interval.
        patients: Scan -> patient; a scan that is not there is a patient of its own.

    Returns:
        None for fewer than two patients.
    """
    subjects = sorted({subject for split in by_split for subject in split})
    patient_of = [(patients or {}).get(subject, subject) for subject in subjects]
    names = sorted(set(patient_of))
    if len(names) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), [1 / len(names)] * len(names), size=n_resamples).astype(np.float64)
    weights = drawn[:, [names.index(patient) for patient in patient_of]]
    means = _weighted_means(by_split, subjects, weights)
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))


def signed_rank(differences: Sequence[float], seed: int = 0) -> SignedRank | None:
    """Test one difference a subject.

    Args:
        differences: Finite, independent.
        seed: Of the interval's draws.

    Returns:
        None for no subject at all.
    """
    values: Floats = np.asarray(differences, dtype=np.float64)
    # Equal scores subtract to 0; their means over splits may be off by a rounding error.
    values = np.where(np.abs(values) < 1e-12, 0.0, values)
    if not len(values):
        return None
    n_untied = int(np.count_nonzero(values))
    return SignedRank(
        p=_p(values[values != 0]),
        n=len(values),
        n_untied=n_untied,
        rank_biserial=float(rank_biserial(values[None])[0]),
        interval=_interval(values, seed),
        smallest_p=2.0 ** (1 - n_untied) if n_untied else 1.0,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, in the order given: they bound the chance of any false alarm.

    The k-th smallest of n is multiplied by n - k + 1, and none is below a smaller one's.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def rank_biserial(rows: Floats) -> Floats:
    """Matched-pairs rank-biserial correlation of each row (n_rows, n_subjects); zeros are left out.

    Left out as in the test: ranks count from the smallest difference that is not 0.
    """
    from scipy.stats import rankdata

    sizes = np.abs(rows)
    # Zeros rank lowest; taking their number off gives the ranks among the others.
    ranks = rankdata(sizes, axis=1) - (sizes == 0).sum(axis=1, keepdims=True)
    ranks[sizes == 0] = 0
    totals = ranks.sum(axis=1)
    correlations: Floats = (ranks * np.sign(rows)).sum(axis=1) / np.where(totals > 0, totals, 1)
    return correlations


def smallest_visible(half_widths: Sequence[float]) -> float | None:
    """The difference that such intervals could tell from 0: the median of their half widths."""
    finite = [width for width in half_widths if math.isfinite(width)]
    return float(np.median(finite)) if finite else None


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


def _p(untied: Floats) -> float:
    if not len(untied):
        return 1.0
    from scipy.stats import wilcoxon

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few subjects, which the report says in words
        return float(wilcoxon(untied).pvalue)


def _interval(values: Floats, seed: int) -> Interval | None:
    if len(values) < 2:
        return None
    draws = np.random.default_rng(seed).integers(len(values), size=(_N_EFFECT_RESAMPLES, len(values)))
    low, high = np.quantile(rank_biserial(values[draws]), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(float(low), float(high))
