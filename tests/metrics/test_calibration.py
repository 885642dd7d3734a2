from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from dwp_sweep.metrics.calibration import (
    brier_score,
    correlation,
    entropy,
    expected_dice,
    near_foreground,
    negative_log_lik,
    reliability,
)
from dwp_sweep.metrics.overlap import overlap


def two_classes(foreground: Any) -> NDArray[np.float64]:
    p = np.asarray(foreground, dtype=np.float64)
    return np.stack([1 - p, p])


def drawn(seed: int, n: int, sharpen: Callable[[Any], Any] = lambda p: p) -> tuple[Any, Any]:
    """Probabilities that are right before they are changed, and the truth drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=n)
    return two_classes(sharpen(p)), rng.uniform(size=n) < p


@pytest.mark.parametrize("n", [3_000, 300_000])
def test_right_probabilities_have_no_calibration_error_but_that_of_sampling(n: int) -> None:
    """A bin of n / 15 voxels is off by a half normal of variance p (1 - p) / (n / 15): 0 as n grows."""
    p = (np.arange(15) + 0.5) / 15
    sampling_error = np.sqrt(2 / np.pi * p * (1 - p) / (n / 15)).mean()
    assert reliability(*drawn(0, n)).ece == pytest.approx(sampling_error, rel=0.6)


def test_constant_overconfidence_is_the_distance_between_confidence_and_frequency() -> None:
    truth = np.arange(1000) < 600
    bins = reliability(two_classes(np.full(1000, 0.9)), truth)
    assert bins.ece == pytest.approx(0.3)
    assert bins.counts.tolist() == [0] * 13 + [1000, 0]


def test_sharpened_probabilities_have_the_closed_form_of_their_error() -> None:
    """A uniform p reported as 0 below 1/2 and 1 above: each half is off by its mean, 1/4."""
    assert reliability(*drawn(1, 100_000, np.round)).ece == pytest.approx(0.25, abs=0.005)


def test_the_reliability_diagram_is_that_of_scikit_learn() -> None:
    probs, truth = drawn(2, 5_000, lambda p: p**2)
    bins = reliability(probs, truth, n_bins=10)
    observed, predicted = calibration_curve(truth, probs[1], n_bins=10)
    np.testing.assert_allclose(bins.foreground / bins.counts, observed)
    np.testing.assert_allclose(bins.probs / bins.counts, predicted)


@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_is_that_of_monai(seed: int) -> None:
    from monai.metrics.calibration import CalibrationErrorMetric

    probs, truth = drawn(seed, 3_000, np.sqrt)
    metric = CalibrationErrorMetric(num_bins=15, include_background=False)
    metric(y_pred=torch.from_numpy(probs)[None], y=torch.from_numpy(np.stack([~truth, truth]))[None].float())
    assert reliability(probs, truth).ece == pytest.approx(metric.aggregate().item(), abs=1e-6)


def test_bins_of_several_images_pool_their_voxels() -> None:
    (one, true_one), (other, true_other) = drawn(3, 500), drawn(4, 900, np.sqrt)
    together = reliability(np.concatenate([one, other], axis=1), np.concatenate([true_one, true_other]))
    pooled = reliability(one, true_one) + reliability(other, true_other)
    np.testing.assert_allclose(
        [pooled.counts, pooled.probs, pooled.foreground],
        [together.counts, together.probs, together.foreground],
    )


def test_the_ends_of_the_scale_fall_into_the_outer_bins() -> None:
    bins = reliability(two_classes([0.0, 1.0, 1.0]), np.array([0, 1, 1]))
    assert (bins.counts[0], bins.counts[-1], bins.ece) == (1, 2, 0)
    with pytest.raises(ValueError, match="no voxels"):
        reliability(np.zeros((2, 0)), np.zeros(0))


def test_brier_score_and_log_likelihood_are_those_of_scikit_learn() -> None:
    probs, truth = drawn(5, 2_000, lambda p: 0.1 + 0.7 * p)
    assert brier_score(probs, truth) == pytest.approx(brier_score_loss(truth, probs[1]))
    assert negative_log_lik(probs, truth) == pytest.approx(log_loss(truth, probs[1]))


def test_a_wrong_certainty_costs_much_but_not_infinitely_much() -> None:
    probs = np.array([[1.0], [0.0]], dtype=np.float32)
    assert negative_log_lik(probs, np.array([1])) == pytest.approx(-math.log(np.finfo(np.float32).tiny))
    tiny = np.array([[1.0], [1e-30]], dtype=np.float32)  # 1 - p would be exactly 1 here
    assert negative_log_lik(tiny, np.array([1])) == pytest.approx(30 * math.log(10), rel=1e-6)


def test_entropy_is_log_2_at_one_half_and_0_where_the_network_is_sure() -> None:
    np.testing.assert_allclose(entropy(two_classes([0.5, 0.0, 1.0])), [math.log(2), 0, 0], atol=1e-12)
    p = np.random.default_rng(6).uniform(size=50)
    np.testing.assert_allclose(entropy(two_classes(p)), entropy(two_classes(1 - p)))


@pytest.mark.parametrize("radius", [0, 1, 2.5, 5])
def test_near_the_foreground_is_within_the_radius_of_the_truth(radius: float) -> None:
    truth = np.zeros((12, 14, 9), dtype=np.uint8)
    truth[2:4, 3:6, 0] = 1
    truth[9, 12, 8] = 2
    places = np.stack(np.indices(truth.shape), axis=-1)
    nearest = np.linalg.norm(places[..., None, :] - np.argwhere(truth > 0), axis=-1).min(axis=-1)
    np.testing.assert_array_equal(near_foreground(truth, radius), nearest <= radius)


def test_without_any_foreground_the_whole_volume_counts() -> None:
    empty = np.zeros((3, 4, 5))
    assert near_foreground(empty, 1).all()


def test_a_radius_of_one_voxel_is_a_dilation_by_a_cross() -> None:
    truth = np.random.default_rng(7).uniform(size=(10, 10, 10)) > 0.97
    np.testing.assert_array_equal(near_foreground(truth, 1), ndimage.binary_dilation(truth))


def test_certain_probabilities_promise_the_dice_they_get() -> None:
    rng = np.random.default_rng(8)
    truth, predicted = rng.uniform(size=(2, 6, 6, 6)) > 0.6
    assert expected_dice(two_classes(truth), predicted) == pytest.approx(overlap(predicted, truth).dice)


@pytest.mark.parametrize("threshold", [0.5, 2.0])
def test_the_promised_dice_is_near_the_exact_expectation(threshold: float) -> None:
    """Against the sum over all truths of 12 independent voxels; exact for an empty mask."""
    p = np.linspace(0.01, 0.99, 12)
    predicted = p > threshold
    exact = 0.0
    for bits in itertools.product([False, True], repeat=len(p)):
        truth = np.array(bits)
        exact += overlap(predicted, truth).dice * np.where(truth, p, 1 - p).prod()
    assert expected_dice(two_classes(p), predicted) == pytest.approx(
        exact, abs=0.01 if predicted.any() else 1e-12
    )


def test_correlation_is_pearsons_and_has_no_order() -> None:
    rng = np.random.default_rng(9)
    first, second = rng.normal(size=(2, 20))
    expected = np.corrcoef(first, second)[0, 1]
    order = rng.permutation(20)
    assert correlation(first, second) == pytest.approx(expected)
    assert correlation(first[order], second[order]) == pytest.approx(expected)
    assert correlation(first, -3 * first + 1) == pytest.approx(-1)


@pytest.mark.parametrize("pair", [([0.1, 0.9], [0.2, 0.8]), ([0.7] * 5, [0.1, 0.2, 0.3, 0.4, 0.5])])
def test_two_subjects_or_a_constant_have_no_correlation(pair: tuple[list[float], list[float]]) -> None:
    assert correlation(*pair) is None and correlation(*pair[::-1]) is None
