"""Structure of kernels: autocorrelation, Gaussians, mixtures of sizes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from dwp_sweep.metrics.kernel_structure import (
    RIDGE,
    ScaleMixture,
    autocorrelation,
    fit_scale_mixture,
    gaussian_log_lik,
    scale_mixture_log_density,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def checkerboard() -> Tensor:
    d, h, w = torch.meshgrid(*[torch.arange(3)] * 3, indexing="ij")
    return ((-1.0) ** (d + h + w)).reshape(1, 27)


@pytest.mark.parametrize(("kernel", "expected"), [(torch.ones(1, 27), 1.0), (checkerboard(), -1.0)])
def test_a_constant_kernel_scores_one_and_a_checkerboard_minus_one(kernel: Tensor, expected: float) -> None:
    assert autocorrelation(kernel) == pytest.approx(expected)


def test_an_edge_detector_scores_what_its_pairs_give_by_hand() -> None:
    """Slices -1, 0, 1 along one axis: 24 in-slice pairs of 1 * 1, 18 across of 0; squares 24 + 18 / 2."""
    sobel = torch.tensor([-1.0, 0.0, 1.0]).repeat_interleave(9).view(1, 27)
    assert autocorrelation(sobel) == pytest.approx(24 / 33)
    for axes in ([1, 0, 2], [2, 1, 0]):
        turned = sobel.view(3, 3, 3).permute(axes).reshape(1, 27)
        assert autocorrelation(turned) == pytest.approx(24 / 33)


def test_a_ramp_and_its_mirror_score_the_same_as_by_hand() -> None:
    """Slices 3, 2, 1: products 12 * (9 + 4 + 1) + 9 * (6 + 2); squares 12 * 14 + 9 * (13 + 5) / 2."""
    ramp = torch.tensor([3.0, 2.0, 1.0]).repeat_interleave(9).view(1, 27)
    assert autocorrelation(ramp) == pytest.approx(240 / 249)
    assert autocorrelation(ramp.flip(1)) == pytest.approx(240 / 249)


@pytest.mark.parametrize("uneven", [False, True])
def test_white_noise_scores_zero_whatever_the_scales_of_the_kernels(uneven: bool) -> None:
    n = 40_000
    noise = torch.randn(n, 27, generator=seeded())
    if uneven:
        noise = noise * torch.rand(n, 1, generator=seeded(1)).exp()
    spread = 1 / math.sqrt(54)  # of one kernel, roughly: 54 products of independent voxels
    assert abs(autocorrelation(noise)) < 5 * spread / math.sqrt(n / 2)


def test_smoothed_noise_scores_clearly_above_zero() -> None:
    noise = torch.randn(2000, 1, 5, 5, 5, generator=seeded())
    smooth = torch.nn.functional.avg_pool3d(noise, 3, stride=1).reshape(2000, 27)
    assert autocorrelation(smooth) > 0.5


def test_the_score_does_not_see_the_scale() -> None:
    kernels = torch.randn(100, 27, generator=seeded())
    assert autocorrelation(1e-4 * kernels) == pytest.approx(autocorrelation(kernels), rel=1e-5)


def test_only_the_stronger_kernels_count() -> None:
    weak_boards = 1e-3 * checkerboard().expand(5, 27)
    kernels = torch.cat([weak_boards, torch.ones(5, 27)])
    assert autocorrelation(kernels) == pytest.approx(1)
    assert autocorrelation(kernels, strongest=1.0) == pytest.approx(0)


def test_dead_kernels_are_left_out_and_nothing_but_dead_ones_has_no_score() -> None:
    assert autocorrelation(torch.cat([torch.zeros(1, 27), torch.ones(1, 27)]), 1.0) == pytest.approx(1)
    assert math.isnan(autocorrelation(torch.zeros(4, 27)))


def test_log_likelihoods_are_those_of_scipy() -> None:
    mixing = torch.randn(27, 27, generator=seeded(1))
    train, test = (torch.randn(n, 27, generator=seeded(n)) @ mixing + 2 for n in (500, 60))
    x, y = train.double().numpy(), test.double().numpy()
    ridge = RIDGE * x.var(0).mean()
    covariance = torch.cov(train.double().T, correction=0).numpy() + ridge * torch.eye(27).numpy()
    full = multivariate_normal(x.mean(0), covariance).logpdf(y).mean()
    diagonal = norm(x.mean(0), (x.var(0) + ridge) ** 0.5).logpdf(y).sum(1).mean()
    assert gaussian_log_lik(train, test, "full") == pytest.approx(full)
    assert gaussian_log_lik(train, test) == pytest.approx(diagonal)
    assert full > diagonal


def test_rescaling_kernels_shifts_the_log_likelihood_by_the_jacobian() -> None:
    train, test = torch.randn(200, 27, generator=seeded()), torch.randn(50, 27, generator=seeded(1))
    for kind in ("diagonal", "full", "scale_mixture"):
        moved = gaussian_log_lik(0.01 * train, 0.01 * test, kind)
        assert moved == pytest.approx(gaussian_log_lik(train, test, kind) - 27 * math.log(0.01))


def test_more_dimensions_than_kernels_still_gives_a_finite_full_gaussian() -> None:
    few = torch.randn(10, 27, generator=seeded())
    assert math.isfinite(gaussian_log_lik(few, few, "full"))


def test_wrong_arguments_are_refused() -> None:
    good = torch.randn(10, 27, generator=seeded())
    with pytest.raises(ValueError, match="rows of 27"):
        autocorrelation(torch.zeros(4, 3, 3, 3))
    with pytest.raises(ValueError, match="strongest"):
        autocorrelation(good, 0.0)
    with pytest.raises(ValueError, match="kind"):
        gaussian_log_lik(good, good, "sphere")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="all equal"):
        gaussian_log_lik(torch.ones(4, 27), good)


SIZES = torch.tensor([0.05, 1.0, 4.0], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)


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
