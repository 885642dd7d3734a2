"""The mixture over sizes: what it recovers, that it climbs, and that heavy tails need it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from dwp_sweep.metrics.kernel_structure import (
    ScaleMixture,
    fit_scale_mixture,
    gaussian_log_lik,
    scale_mixture_log_density,
)

SIZES = torch.tensor([0.05, 1.0, 4.0], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(n: int, seed: int = 0) -> Tensor:
    """Rows of 27 from three sizes of the standard normal."""
    component = torch.multinomial(WEIGHTS, n, replacement=True, generator=seeded(seed))
    noise = torch.randn(n, 27, generator=seeded(seed + 1), dtype=torch.float64)
    return SIZES[component].sqrt()[:, None] * noise


def test_sizes_and_weights_of_the_data_are_found_again() -> None:
    fitted = fit_scale_mixture(drawn(20_000).square().sum(1), 27, 3)
    order = fitted.sizes.argsort()
    torch.testing.assert_close(fitted.sizes[order], SIZES, rtol=0.03, atol=0)
    torch.testing.assert_close(fitted.weights[order], WEIGHTS, rtol=0, atol=0.015)


def test_the_likelihood_never_falls() -> None:
    tails = torch.randn(2000, 1, generator=seeded()).exp() * torch.randn(2000, 27, generator=seeded(1))
    history = fit_scale_mixture(tails.double().square().sum(1), 27).history
    assert len(history) > 3
    assert all(after >= before - 1e-12 for before, after in pairwise(history))


def test_the_density_is_that_of_torchs_mixture() -> None:
    mixing = torch.randn(27, 27, generator=seeded(3), dtype=torch.float64) + 3 * torch.eye(27)
    covariance = mixing @ mixing.T
    x = torch.randn(40, 27, generator=seeded(4), dtype=torch.float64) @ mixing.T
    parts = MultivariateNormal(torch.zeros(27, dtype=torch.float64), SIZES[:, None, None] * covariance)
    expected = MixtureSameFamily(Categorical(WEIGHTS), parts).log_prob(x)
    distances = (x @ torch.linalg.inv(covariance) * x).sum(1)
    log_det = torch.logdet(covariance)
    found = scale_mixture_log_density(distances, log_det, 27, ScaleMixture(WEIGHTS, SIZES, ()))
    torch.testing.assert_close(found, expected)


def test_heavy_tails_are_likelier_than_under_the_full_gaussian_and_gaussians_are_not() -> None:
    tails, test = drawn(3000), drawn(1000, 7)
    assert gaussian_log_lik(tails, test, "scale_mixture") > gaussian_log_lik(tails, test, "full") + 5
    plain = torch.randn(4000, 27, generator=seeded())
    expected = gaussian_log_lik(plain[:3000], plain[3000:], "full")
    assert gaussian_log_lik(plain[:3000], plain[3000:], "scale_mixture") == pytest.approx(expected, abs=0.2)


def test_its_score_is_the_likelihood_of_the_mixture_that_the_data_come_from() -> None:
    parts = MultivariateNormal(torch.zeros(27, dtype=torch.float64), SIZES[:, None, None] * torch.eye(27))
    truth = MixtureSameFamily(Categorical(WEIGHTS), parts).log_prob(drawn(4000, 7)).mean()
    found = gaussian_log_lik(drawn(20_000), drawn(4000, 7), "scale_mixture")
    assert found == pytest.approx(float(truth), abs=0.1)


def test_dead_rows_have_a_finite_likelihood() -> None:
    rows = torch.cat([torch.zeros(50, 27), torch.randn(50, 27, generator=seeded())])
    assert gaussian_log_lik(rows, rows, "scale_mixture") > gaussian_log_lik(rows, rows, "full")
