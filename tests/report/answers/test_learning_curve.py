from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from dwp_sweep.report.answers.learning_curve import LearningCurve, fit_curve, fit_curves


@pytest.mark.parametrize("sizes", [(5, 10, 20), (2, 4, 8, 16, 50)])
@pytest.mark.parametrize("planted", [(0.8, 0.9, 0.7), (0.95, 1.5, 0.3), (0.7, 0.4, 2.0), (1.0, 0.8, 0.5)])
def test_a_planted_curve_gives_its_own_parameters_back(
    planted: tuple[float, float, float], sizes: tuple[int, ...]
) -> None:
    curve = LearningCurve(*planted)
    found = fit_curve(sizes, [curve.at(size) for size in sizes])
    assert (found.plateau, found.drop, found.exponent) == pytest.approx(planted, rel=1e-4)


def test_noisy_scores_are_fitted_as_scipy_fits_them() -> None:
    sizes, rng = np.array([2, 4, 8, 16, 32, 64]), np.random.default_rng(0)
    scores = 0.8 - 0.7 * sizes**-0.6 + rng.normal(size=6) * 0.01
    expected, _ = curve_fit(lambda m, a, b, c: a - b * m**-c, sizes.astype(float), scores, p0=(0.8, 0.5, 0.5))
    found = fit_curve(sizes.tolist(), scores.tolist())
    assert (found.plateau, found.drop, found.exponent) == pytest.approx(tuple(expected), rel=1e-3)


def test_many_curves_at_once_are_those_one_by_one() -> None:
    scores = np.sort(np.random.default_rng(1).uniform(0.2, 0.9, size=(20, 4)), axis=1)
    sizes = [5, 10, 20, 40]
    assert fit_curves(sizes, scores) == [fit_curve(sizes, row) for row in scores.tolist()]


def test_scans_for_a_score_undo_the_curve_and_end_at_its_plateau() -> None:
    curve = LearningCurve(0.8, 0.9, 0.7)
    for n in (1, 5, 12.5, 400):
        assert curve.scans_for(curve.at(n)) == pytest.approx(n)
    assert curve.scans_for(0.8) == curve.scans_for(0.9) == math.inf
    assert curve.scans_for(-1e9) < 1e-9


@pytest.mark.parametrize("scores", [(0.6, 0.6, 0.6), (0.7, 0.6, 0.5)])
def test_scores_that_do_not_rise_give_a_flat_curve(scores: tuple[float, ...]) -> None:
    found = fit_curve((5, 10, 20), scores)
    assert not found.rises and found.at(5) == found.at(1000) == pytest.approx(np.mean(scores))


def test_no_plateau_is_above_1() -> None:
    found = fit_curve((5, 10, 20), (0.5, 0.75, 0.995))
    assert found.plateau <= 1 and found.rises


def test_two_sizes_make_no_curve() -> None:
    with pytest.raises(ValueError, match="3 training sizes"):
        fit_curve((5, 10), (0.5, 0.6))
