"""The bound on the divergence from a kernel prior: closed forms, properties, gradients by rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import MultivariateNormal, kl_divergence

from dwp_sweep.losses.kernel_bound import Form, by_rows, kernel_bound, negative_elbo, subset

D, L = 27, 3
N_DRAWS = 20_000
FORMS: tuple[Form, ...] = ("closed", "sampled")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class LinearGaussian:
    """``z ~ N(0, I)``, ``x|z ~ N(A z + b, diag(d))`` with an affine encoder ``N(C x + c, diag(s))``.

    The columns of ``A`` are orthogonal in the metric of ``d``, so that the exact encoder is diagonal.
    """

    decoder: Tensor  # A (D, L)
    shift: Tensor  # b (D,)
    variance: Tensor  # d (D,)
    encoder: Tensor  # C (L, D)
    encoder_shift: Tensor  # c (L,)
    encoder_variance: Tensor  # s (L,)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x @ self.encoder.T + self.encoder_shift
        return mean, self.encoder_variance.log().expand_as(mean)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean = z @ self.decoder.T + self.shift
        return mean, self.variance.log().expand_as(mean)

    def raw_prior(self, scale: float) -> MultivariateNormal:
        covariance = self.decoder @ self.decoder.T + self.variance.diag()
        return MultivariateNormal(scale * self.shift, scale**2 * covariance)


def exact_model() -> LinearGaussian:
    """The encoder is the true posterior of ``z``."""
    generator = seeded(11)
    variance = torch.rand(D, generator=generator, dtype=torch.float64) + 0.3
    orthogonal = torch.linalg.qr(torch.randn(D, L, generator=generator, dtype=torch.float64))[0]
    decoder = variance.sqrt()[:, None] * orthogonal * torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
    shift = torch.randn(D, generator=generator, dtype=torch.float64)
    precision = 1 + (decoder.square() / variance[:, None]).sum(0)
    encoder = decoder.T / variance / precision[:, None]
    return LinearGaussian(decoder, shift, variance, encoder, -encoder @ shift, 1 / precision)


def wrong_model() -> LinearGaussian:
    """An encoder that is off in slope, shift and variance."""
    right = exact_model()
    return LinearGaussian(
        right.decoder,
        right.shift,
        right.variance,
        0.7 * right.encoder + 0.02,
        right.encoder_shift + 0.3,
        2 * right.encoder_variance,
    )


def posterior(scale: float) -> tuple[Tensor, Tensor]:
    """Mean and log-variance ``(D,)`` of a posterior in raw units."""
    mean = scale * torch.randn(D, generator=seeded(5), dtype=torch.float64)
    return mean, torch.linspace(-5, -1, D, dtype=torch.float64) + 2 * math.log(scale)


def expected_bound(model: LinearGaussian, mean: Tensor, log_var: Tensor, scale: float) -> float:
    """The bound by the moments of ``x``, ``z`` and ``x - A z - b``, which are jointly Gaussian."""
    mu, cov = mean / scale, (log_var.exp() / scale**2).diag()
    latent_mean = model.encoder @ mu + model.encoder_shift
    second_moment = latent_mean.square() + (model.encoder @ cov @ model.encoder.T).diagonal()
    s = model.encoder_variance
    latent_kl = 0.5 * (second_moment + s - 1 - s.log()).sum()
    rest = torch.eye(D, dtype=torch.float64) - model.decoder @ model.encoder
    error_mean = rest @ mu - model.decoder @ model.encoder_shift - model.shift
    error_cov = rest @ cov @ rest.T + model.decoder @ s.diag() @ model.decoder.T
    error = (error_mean.square() + error_cov.diagonal()) / model.variance
    log_lik = -0.5 * (error + model.variance.log() + math.log(2 * math.pi)).sum() - D * math.log(scale)
    entropy = 0.5 * (1 + math.log(2 * math.pi) + log_var).sum()
    return float(latent_kl - log_lik - entropy)


def true_kl(model: LinearGaussian, mean: Tensor, log_var: Tensor, scale: float) -> float:
    return float(kl_divergence(MultivariateNormal(mean, log_var.exp().diag()), model.raw_prior(scale)))


def estimates(model: LinearGaussian, scale: float, form: Form) -> tuple[Tensor, Tensor]:
    """Draws ``w`` of the posterior and the bound's estimate at each."""
    mean, log_var = (t.expand(N_DRAWS, D) for t in posterior(scale))
    noise = torch.randn(N_DRAWS, D, generator=seeded(6), dtype=torch.float64)
    w = mean + (0.5 * log_var).exp() * noise
    return w, kernel_bound(w, mean, log_var, model, scale, seeded(7), form)


def assert_mean(values: Tensor, expected: float) -> None:
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - expected) < 5 * error, (float(values.mean()), expected, error)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1.0, 0.05, 3.0])
@pytest.mark.parametrize("make", [exact_model, wrong_model])
def test_both_forms_have_the_expectation_of_the_closed_form(
    make: Callable[[], LinearGaussian], scale: float, form: Form
) -> None:
    model = make()
    _, values = estimates(model, scale, form)
    assert_mean(values, expected_bound(model, *posterior(scale), scale))


def test_closed_and_sampled_forms_agree_in_expectation_on_the_same_draws() -> None:
    _, closed = estimates(wrong_model(), 0.2, "closed")
    _, sampled = estimates(wrong_model(), 0.2, "sampled")
    assert_mean(closed - sampled, 0.0)
    assert closed.var() < sampled.var()


@pytest.mark.parametrize("scale", [1.0, 0.05, 3.0])
def test_with_the_exact_encoder_the_bound_is_the_true_divergence(scale: float) -> None:
    expected = expected_bound(exact_model(), *posterior(scale), scale)
    assert expected == pytest.approx(true_kl(exact_model(), *posterior(scale), scale), rel=1e-9)


@pytest.mark.parametrize("scale", [1.0, 0.05, 3.0])
def test_with_the_exact_encoder_every_sampled_estimate_is_the_log_ratio_of_the_densities(
    scale: float,
) -> None:
    w, values = estimates(exact_model(), scale, "sampled")
    mean, log_var = posterior(scale)
    q = MultivariateNormal(mean, log_var.exp().diag())
    torch.testing.assert_close(values, q.log_prob(w) - exact_model().raw_prior(scale).log_prob(w))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1.0, 0.05, 3.0])
def test_with_a_wrong_encoder_the_bound_lies_above_the_true_divergence(scale: float, form: Form) -> None:
    _, values = estimates(wrong_model(), scale, form)
    error = float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) - 5 * error > true_kl(wrong_model(), *posterior(scale), scale)


def test_the_gap_is_the_divergence_of_the_encoder_from_the_true_posterior_of_z() -> None:
    mean, log_var = posterior(1.0)
    right, wrong = exact_model(), wrong_model()
    gap = expected_bound(wrong, mean, log_var, 1.0) - true_kl(wrong, mean, log_var, 1.0)
    x = mean + (0.5 * log_var).exp() * torch.randn(N_DRAWS, D, generator=seeded(6), dtype=torch.float64)
    (m, log_s), (m_true, log_s_true) = wrong.encode(x), right.encode(x)
    ratio = (log_s - log_s_true).exp()
    kl = 0.5 * (ratio - 1 - ratio.log() + (m - m_true).square() / log_s_true.exp()).sum(1)
    assert_mean(kl, gap)


def test_a_scale_for_each_kernel_gives_what_single_scales_give() -> None:
    mean, log_var = (t.expand(4, D) for t in posterior(1.0))
    w = mean + 0.1
    scales = torch.tensor([[0.1], [0.5], [1.0], [2.0]], dtype=torch.float64)
    together = kernel_bound(w, mean, log_var, exact_model(), scales, seeded(), "sampled")
    for row, scale in enumerate(scales.flatten().tolist()):
        alone = kernel_bound(w[:1], mean[:1], log_var[:1], exact_model(), scale, seeded(), "sampled")
        torch.testing.assert_close(together[row : row + 1], alone)


def test_gradients_of_the_closed_form_point_at_the_minimum_of_the_true_divergence() -> None:
    """With the exact encoder the divergence is least in ``mean`` at the prior's mean: gradient 0 there."""
    model = exact_model()
    mean = model.shift.clone().requires_grad_(True)
    log_var = posterior(1.0)[1].clone().requires_grad_(True)
    noise = torch.randn(N_DRAWS, D, generator=seeded(6), dtype=torch.float64)
    w = mean + (0.5 * log_var).exp() * noise
    kernel_bound(w, mean, log_var, model, 1.0, seeded(7)).mean().backward()
    precision = model.raw_prior(1.0).precision_matrix
    expected = 0.5 * (precision.diagonal() * log_var.detach().exp() - 1)
    torch.testing.assert_close(mean.grad, torch.zeros_like(mean), atol=0.05, rtol=0)
    torch.testing.assert_close(log_var.grad, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_reach_mean_log_var_and_encoder(form: Form) -> None:
    right = exact_model()
    encoder = right.encoder.clone().requires_grad_(True)
    model = LinearGaussian(
        right.decoder, right.shift, right.variance, encoder, right.encoder_shift, right.encoder_variance
    )
    mean, log_var = (t.clone().expand(8, D).contiguous().requires_grad_(True) for t in posterior(0.3))
    w = mean + (0.5 * log_var).exp() * torch.randn(8, D, generator=seeded(), dtype=torch.float64)
    kernel_bound(w, mean, log_var, model, 0.3, seeded(), form).sum().backward()
    for leaf in (mean, log_var, encoder):
        assert leaf.grad is not None and torch.isfinite(leaf.grad).all() and leaf.grad.abs().sum() > 0


def test_negative_elbo_of_the_exact_encoder_is_the_negative_log_density_in_expectation() -> None:
    x = torch.randn(1, D, generator=seeded(1), dtype=torch.float64)
    values = negative_elbo(x.expand(N_DRAWS, D), exact_model(), seeded(2))
    assert_mean(values, -float(exact_model().raw_prior(1.0).log_prob(x)))


def test_negative_elbo_weighs_the_latent_divergence() -> None:
    x = torch.randn(5, D, generator=seeded(1), dtype=torch.float64)
    model = wrong_model()
    mean, log_var = model.encode(x)
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
    whole, part = negative_elbo(x, model, seeded(2)), negative_elbo(x, model, seeded(2), kl_scale=0.25)
    torch.testing.assert_close(whole - part, 0.75 * kl)


@pytest.mark.parametrize(
    ("n", "fraction", "n_chosen"), [(10, 0.3, 3), (10, 0.01, 1), (7, 1.0, 7), (1000, 0.1, 100)]
)
def test_a_subset_has_distinct_items_and_the_factor_of_its_size(
    n: int, fraction: float, n_chosen: int
) -> None:
    indices, factor = subset(n, fraction, seeded())
    assert len(set(indices.tolist())) == n_chosen
    assert set(indices.tolist()) <= set(range(n))
    assert factor == pytest.approx(n / n_chosen)


def test_the_sum_over_a_subset_is_unbiased() -> None:
    values = torch.linspace(-3, 50, 37, dtype=torch.float64).square()
    generator = seeded()
    sums = []
    for _ in range(4000):
        indices, factor = subset(len(values), 0.1, generator)
        sums.append(factor * values[indices].sum())
    assert_mean(torch.stack(sums), float(values.sum()))


def test_the_bound_of_a_subset_is_an_unbiased_estimate_of_the_whole_bound() -> None:
    mean = torch.randn(30, D, generator=seeded(1), dtype=torch.float64)
    log_var = mean - 4
    scale = torch.rand(30, 1, generator=seeded(2), dtype=torch.float64) + 0.1
    generator, sums = seeded(3), []
    for _ in range(3000):
        chosen, factor = subset(30, 0.2, generator)
        m, v = mean[chosen], log_var[chosen]
        bound = kernel_bound(
            m, m, v, exact_model(), scale[chosen], generator, "sampled"
        )  # no noise in z: exact
        sums.append(factor * bound.sum())
    whole = kernel_bound(mean, mean, log_var, exact_model(), scale, seeded(), "sampled").sum()
    assert_mean(torch.stack(sums), float(whole))


@pytest.mark.parametrize(("n", "fraction"), [(0, 0.5), (5, 0.0), (5, 1.1)])
def test_an_impossible_subset_is_refused(n: int, fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        subset(n, fraction)


def test_unknown_form_and_scale_that_is_not_positive_are_refused() -> None:
    w = torch.zeros(2, D, dtype=torch.float64)
    with pytest.raises(ValueError, match="'closed' or 'sampled', not 'exact'"):
        kernel_bound(w, w, w, exact_model(), 1.0, form="exact")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="positive"):
        kernel_bound(w, w, w, exact_model(), 0.0)


def of_rows(a: Tensor, b: Tensor) -> Tensor:
    return (a.sin() * b.exp()[:, :1]).sum(dim=1) + b.square().sum(dim=1)


def leaves(n: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (3, 2))
    return a.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("n_rows", [1, 3, 7, 100])
def test_the_size_of_the_parts_changes_neither_values_nor_gradients(n_rows: int) -> None:
    ours, theirs = leaves(), leaves()
    upstream = torch.linspace(-1, 2, 7, dtype=torch.float64)
    got, expected = by_rows(of_rows, *ours, n_rows), of_rows(*theirs)
    torch.testing.assert_close(got, expected)
    (got * upstream).sum().backward()
    (expected * upstream).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_gradients_are_those_of_finite_differences() -> None:
    assert gradcheck(lambda a, b: by_rows(of_rows, a, b, 2), leaves())


@pytest.mark.parametrize("which", [0, 1])
def test_one_argument_alone_may_ask_for_its_gradient(which: int) -> None:
    ours = leaves()
    ours[1 - which].requires_grad_(False)
    by_rows(of_rows, *ours, 2).sum().backward()
    theirs = leaves()
    of_rows(*theirs).sum().backward()
    torch.testing.assert_close(ours[which].grad, theirs[which].grad)
    assert ours[1 - which].grad is None


def test_without_gradients_nothing_is_differentiated() -> None:
    with torch.no_grad():
        values = by_rows(of_rows, *leaves(), 3)
    assert not values.requires_grad
    torch.testing.assert_close(values, of_rows(*leaves()).detach())
    plain = tuple(leaf.detach() for leaf in leaves())
    assert not by_rows(of_rows, *plain, 3).requires_grad
