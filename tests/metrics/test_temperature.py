from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from dwp_sweep.metrics.calibration import negative_log_lik, reliability
from dwp_sweep.metrics.temperature import HIGHEST, LOWEST, ScoredVoxels, fit_temperature, tempered


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    return torch.from_numpy(logits).double().softmax(0).numpy()


def honest(seed: int, n: int = 20_000, n_classes: int = 2) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Logits that are right, and the truth drawn from their softmax."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_classes, n)) * 2
    ladder = softmax(logits).cumsum(axis=0)
    return logits, (rng.uniform(size=n)[None] > ladder[:-1]).sum(axis=0)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_logits_times_c_give_the_temperature_times_c(factor: float, n_classes: int) -> None:
    logits, truth = honest(0, n_classes=n_classes)
    plain = fit_temperature([ScoredVoxels(softmax(logits), truth)])
    scaled = fit_temperature([ScoredVoxels(softmax(factor * logits), truth)])
    assert plain.value == pytest.approx(1, abs=0.03), "logits that are right need none"
    assert scaled.value == pytest.approx(factor * plain.value, rel=1e-6)
    assert scaled.n_scans == 1 and scaled.is_fitted and not scaled.note


def test_it_is_the_temperature_that_gradient_descent_on_the_cross_entropy_finds() -> None:
    scans = [honest(seed, 2_000) for seed in range(3)]
    scans = [(logits * (seed + 1.5), truth) for seed, (logits, truth) in enumerate(scans)]
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], lr=0.5, max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        parts = [
            F.cross_entropy(torch.from_numpy(logits.T) / log_t.exp(), torch.from_numpy(truth))
            for logits, truth in scans
        ]
        total = torch.stack(parts).mean()
        total.backward()
        return total

    optimizer.step(loss)
    found = fit_temperature([ScoredVoxels(softmax(logits), truth) for logits, truth in scans])
    assert found.value == pytest.approx(log_t.exp().item(), rel=1e-4)


def test_overconfident_probabilities_become_right_and_their_errors_vanish() -> None:
    logits, truth = honest(1)
    probs = softmax(4 * logits)
    right = tempered(probs, fit_temperature([ScoredVoxels(probs, truth)]).value)
    np.testing.assert_allclose(right, softmax(logits), atol=0.02)
    assert negative_log_lik(right, truth) < 0.75 * negative_log_lik(probs, truth)
    assert reliability(right, truth).ece < 0.02 < 0.1 < reliability(probs, truth).ece


@pytest.mark.parametrize("temperature", [LOWEST, 0.7, 3.0, HIGHEST])
def test_the_likeliest_class_stays_the_likeliest(temperature: float) -> None:
    probs = softmax(honest(2, 5_000, 3)[0] * 5).astype(np.float32)
    changed = tempered(probs, temperature)
    assert changed.dtype == np.float32 and changed.shape == probs.shape
    np.testing.assert_allclose(changed.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(changed.argmax(axis=0), probs.argmax(axis=0))


def test_a_temperature_of_one_changes_no_bit_and_two_undo_each_other() -> None:
    probs = softmax(honest(3, 1_000)[0]).astype(np.float32)
    assert tempered(probs, 1.0) is probs
    np.testing.assert_allclose(tempered(tempered(probs, 2.5), 1 / 2.5), probs, atol=1e-5)


def test_a_probability_that_is_exactly_0_stays_finite() -> None:
    probs = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    for temperature in (LOWEST, 2.0, HIGHEST):
        assert np.isfinite(tempered(probs, temperature)).all()
    assert np.isfinite(fit_temperature([ScoredVoxels(probs, np.array([1, 1]))]).value)


def test_scans_without_foreground_are_left_out_and_nothing_but_those_is_said_in_words() -> None:
    logits, truth = honest(4)
    scan = ScoredVoxels(softmax(2 * logits), truth)
    empty = ScoredVoxels(softmax(2 * logits), np.zeros_like(truth))
    assert fit_temperature([empty, scan]) == fit_temperature([scan])
    nothing = fit_temperature([empty, empty])
    assert nothing.value == 1 and not nothing.is_fitted
    assert nothing.note == (
        "none of the 2 validation scans has foreground, and a temperature cannot be fitted without any"
    )
    assert "the only validation scan has no foreground" in fit_temperature([empty]).note


def test_voxels_that_are_all_right_or_all_wrong_are_said_in_words() -> None:
    truth = np.array([0, 1, 0, 1])
    right = np.stack([0.9 - 0.8 * truth, 0.1 + 0.8 * truth])
    nothing = fit_temperature([ScoredVoxels(right, truth)])
    assert (
        nothing.value == 1 and not nothing.is_fitted and "hardly a validation voxel is wrong" in nothing.note
    )
    wrong = fit_temperature([ScoredVoxels(right[::-1], truth)])
    assert wrong.value == HIGHEST and "highest" in wrong.note
