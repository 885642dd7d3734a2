"""The score of a method over the number of training scans as ``a - b * m ** -c``, fitted by least squares.

The form that scores of segmentation follow where scans are few: steep first, then flat, with a plateau a.
Reads numbers alone; `report.answers.in_scans` asks how many scans an effect is worth on such a curve.

Source: the power law of learning curves; Viering and Loog (2023), "The Shape of Learning Curves: a Review".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_SIZES_AT_LEAST = 3
"""As many as the curve has parameters."""
_STEEPEST, _FLATTEST = 6.0, 0.02
"""Of the exponent c: beyond these a curve is a step, or a straight line in log m."""
_N_GRID, _N_ROUNDS = 50, 4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LearningCurve:
    """A fitted curve; higher scores are better.

    Attributes:
        plateau: a, the score of any number of scans; at most 1.
        drop: b, at least 0; 0 where more scans do not help.
        exponent: c, above 0.
    """

    plateau: float
    drop: float
    exponent: float

    @property
    def rises(self) -> bool:
        """Whether more scans help at all."""
        return self.drop > 1e-9

    def at(self, n_scans: float) -> float:
        """The score of so many training scans."""
        return self.plateau - self.drop * math.pow(n_scans, -self.exponent)

    def scans_for(self, score: float) -> float:
        """Training scans that give a score: infinite at the plateau and above, or where more do not help."""
        if score >= self.plateau or not self.rises:
            return math.inf
        # The logarithm keeps scores far below the curve from overflowing.
        return math.exp(min(-math.log((self.plateau - score) / self.drop) / self.exponent, 700.0))


def fit_curve(sizes: Sequence[int], scores: Sequence[float]) -> LearningCurve:
    """The curve with the least squared error; one that falls nowhere.

    Args:
        sizes: Training scans, at least `N_SIZES_AT_LEAST` different numbers.
        scores: Of each.

    Raises:
        ValueError: Too few sizes.
    """
    return fit_curves(sizes, np.asarray(scores, dtype=np.float64)[None])[0]


def fit_curves(sizes: Sequence[int], scores: Floats) -> list[LearningCurve]:
    """As `fit_curve`, for many sets of scores (n, n_sizes) at once.

    For a given exponent the best plateau and drop have a closed form, so the exponent alone is searched for.
    """
    if len(set(sizes)) < N_SIZES_AT_LEAST:
        raise ValueError(f"a learning curve needs {N_SIZES_AT_LEAST} training sizes")
    x, y = np.asarray(sizes, dtype=np.float64), scores[:, None]
    low = np.full(len(scores), math.log(_FLATTEST))
    high = np.full(len(scores), math.log(_STEEPEST))
    for _ in range(_N_ROUNDS):
        grid = np.linspace(low, high, _N_GRID, axis=1)
        powers = x ** -np.exp(grid)[..., None]
        plateau, drop = _linear(powers, y)
        errors = ((plateau[..., None] - drop[..., None] * powers - y) ** 2).sum(axis=-1)
        best = errors.argmin(axis=1)
        chosen, rows = grid[np.arange(len(scores)), best], np.arange(len(scores))
        step = grid[:, 1] - grid[:, 0]
        low, high = chosen - step, np.minimum(chosen + step, math.log(_STEEPEST))
    return [
        LearningCurve(float(a), float(b), float(c))
        for a, b, c in zip(plateau[rows, best], drop[rows, best], np.exp(chosen), strict=True)
    ]


def _linear(powers: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Plateau and drop by linear regression on ``m ** -c``, within their limits."""
    centred = powers - powers.mean(axis=-1, keepdims=True)
    drop = np.maximum(0, -(centred * y).sum(axis=-1) / (centred**2).sum(axis=-1))
    plateau = y.mean(axis=-1) + drop * powers.mean(axis=-1)
    # No score is above 1: there the best drop for that plateau.
    below = np.maximum(0, (powers * (1 - y)).sum(axis=-1) / (powers**2).sum(axis=-1))
    return np.minimum(plateau, 1.0), np.where(plateau > 1, below, drop)
