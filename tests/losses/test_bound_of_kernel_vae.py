"""The kernel bound with the kernel VAE and with a prior that has a density."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from dwp_sweep.losses.kernel_bound import Form, kernel_bound, negative_elbo
from dwp_sweep.nets.kernel_vae import Head, KernelVAE
from tests.benchmarks.bound import AsModules, OnlyEncodesDecodes

FORMS: tuple[Form, ...] = ("closed", "sampled")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frozen_vae(seed: int, head: Head = "free", dtype: torch.dtype = torch.float64) -> KernelVAE:
    torch.manual_seed(seed)
    vae = KernelVAE(latent_dim=3, head=head).to(dtype)
    for parameter in vae.parameters():
        parameter.data.normal_(std=0.15)
    vae.requires_grad_(False)
    for parameter in vae.encoder_parameters():
        parameter.requires_grad_(True)
    return vae


def posterior(n: int, dtype: torch.dtype = torch.float64) -> tuple[nn.Parameter, nn.Parameter]:
    mean = torch.randn(n, 27, generator=seeded(1), dtype=dtype)
    return nn.Parameter(0.1 * mean), nn.Parameter(-6 + mean)


def bound_and_gradients(
    vae: KernelVAE, prior: object, n: int, form: Form, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, list[Tensor]]:
    """The bound of ``n`` kernels and the gradients of a weighted sum; the same draws every time."""
    mean, log_var = posterior(n, dtype)
    noise = torch.randn(n, 27, generator=seeded(2), dtype=dtype)
    w = mean + (0.5 * log_var).exp() * noise
    scale = torch.linspace(0.05, 0.4, n, dtype=dtype)[:, None]
    nats = kernel_bound(w, mean, log_var, prior, scale, seeded(3), form)  # type: ignore[arg-type]
    weights = torch.linspace(-1, 2, n, dtype=dtype)
    leaves = [mean, log_var, *vae.encoder_parameters()]
    return nats.detach(), list(torch.autograd.grad((weights * nats).sum(), leaves))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["free", "tanh"])
@pytest.mark.parametrize("n", [1, 5, 33])
@pytest.mark.parametrize("prior", [AsModules, OnlyEncodesDecodes])
def test_the_frozen_path_computes_what_modules_and_ordinary_differentiation_compute(
    prior: type[OnlyEncodesDecodes], n: int, head: Head, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dwp_sweep.losses.kernel_bound._ROWS_A_THREAD", 2)  # several parts, one not full
    vae = frozen_vae(n, head)
    values, gradients = bound_and_gradients(vae, vae, n, form)
    expected, expected_gradients = bound_and_gradients(vae, prior(vae), n, form)
    torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-9)
    for a, b in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10 * float(b.abs().max()))


@pytest.mark.parametrize("seed", range(3))
def test_in_single_precision_values_and_gradients_keep_five_digits(seed: int) -> None:
    vae = frozen_vae(seed, dtype=torch.float32)
    values, gradients = bound_and_gradients(vae, vae, 200, "closed", torch.float32)
    expected, expected_gradients = bound_and_gradients(vae, AsModules(vae), 200, "closed", torch.float32)
    for a, b in zip((values, *gradients), (expected, *expected_gradients), strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_mean_log_var_and_encoder_are_those_of_finite_differences(form: Form) -> None:
    vae = frozen_vae(4)
    mean, log_var = posterior(2)
    noise = torch.randn(2, 27, generator=seeded(2), dtype=torch.float64)

    def bound(mean: Tensor, log_var: Tensor, bias: Tensor) -> Tensor:
        w = mean + (0.5 * log_var).exp() * noise
        return kernel_bound(w, mean, log_var, vae, 0.3, seeded(3), form)

    inputs = (mean, log_var, vae.latent_log_var.bias)
    assert torch.autograd.gradcheck(bound, inputs)


def test_a_frozen_decoder_gets_no_gradient_and_one_that_learns_does() -> None:
    vae = frozen_vae(5)
    mean, log_var = posterior(4)
    kernel_bound(mean, mean, log_var, vae, 0.3, seeded()).sum().backward()
    assert all(p.grad is None for p in vae.decoder_parameters())
    assert all(p.grad is not None for p in vae.encoder_parameters())
    vae.requires_grad_(True)
    negative_elbo(mean.detach(), vae, seeded()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.decoder_parameters())


def test_autocast_around_it_changes_nothing() -> None:
    vae = frozen_vae(6, dtype=torch.float32)
    mean, log_var = posterior(50, torch.float32)
    for prior in (vae, OnlyEncodesDecodes(vae)):
        outside = kernel_bound(mean, mean, log_var, prior, 0.3, seeded())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = kernel_bound(mean, mean, log_var, prior, 0.3, seeded())
        assert inside.dtype == torch.float32
        assert torch.equal(inside, outside)
        expected, found = (torch.autograd.grad(nats.sum(), mean)[0] for nats in (outside, inside))
        assert torch.equal(expected, found)


class Known:
    """A distribution of torch as a prior."""

    def __init__(self, distribution: torch.distributions.Distribution) -> None:
        self.distribution = distribution

    def log_density(self, x: Tensor) -> Tensor:
        log_prob: Tensor = self.distribution.log_prob(x)
        return log_prob


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_under_a_gaussian_prior_the_mean_estimate_is_the_divergence_of_two_gaussians(
    scale: float, form: Form
) -> None:
    shape = torch.randn(27, 27, generator=seeded(), dtype=torch.float64) / 6
    covariance = shape @ shape.T + torch.eye(27, dtype=torch.float64)
    centre = torch.linspace(-1, 1, 27, dtype=torch.float64)
    mean, log_var = scale * centre.flip(0), torch.full((27,), -2.0 + 2 * math.log(scale), dtype=torch.float64)
    n = 20_000
    w = mean + (0.5 * log_var).exp() * torch.randn(n, 27, generator=seeded(1), dtype=torch.float64)
    prior = Known(MultivariateNormal(centre, covariance))
    values = kernel_bound(w, mean.expand(n, 27), log_var.expand(n, 27), prior, scale, form=form)
    raw = MultivariateNormal(scale * centre, scale**2 * covariance)
    expected = float(kl_divergence(MultivariateNormal(mean, log_var.exp().diag()), raw))
    error = float(values.std()) / math.sqrt(n)
    assert abs(float(values.mean()) - expected) < 5 * error


def test_under_a_mixture_every_sampled_value_is_the_log_ratio_of_the_densities() -> None:
    widths = torch.tensor([0.1, 1.0], dtype=torch.float64)[:, None].expand(2, 27)
    mixture = MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.3, 0.7], dtype=torch.float64)),
        Independent(Normal(torch.zeros_like(widths), widths), 1),
    )
    mean, log_var = posterior(6)
    w = (mean + 0.01).detach()
    scale = 0.2
    values = kernel_bound(w, mean, log_var, Known(mixture), scale, form="sampled")
    q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    expected = q.log_prob(w) - (mixture.log_prob(w / scale) - 27 * math.log(scale))
    torch.testing.assert_close(values, expected)


def test_a_prior_equal_to_the_posterior_costs_nothing() -> None:
    log_var = torch.full((5, 27), -3.0, dtype=torch.float64)
    mean = torch.zeros(5, 27, dtype=torch.float64)
    q = Independent(Normal(mean[0], (0.5 * log_var[0]).exp()), 1)
    w = torch.randn(5, 27, generator=seeded(), dtype=torch.float64)
    values = kernel_bound(w, mean, log_var, Known(q), 1.0, form="sampled")
    torch.testing.assert_close(values, torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_the_same() -> None:
    vae = frozen_vae(7)
    mean, log_var = posterior(9000)
    there = vae.to("cuda")
    w = mean.detach().to("cuda").requires_grad_()
    args = (w, w, log_var.detach().to("cuda"), there, 0.3)
    (grad,) = torch.autograd.grad(kernel_bound(*args, torch.Generator("cuda").manual_seed(0)).sum(), w)
    plain = (*args[:3], OnlyEncodesDecodes(there), 0.3)
    (expected,) = torch.autograd.grad(kernel_bound(*plain, torch.Generator("cuda").manual_seed(0)).sum(), w)
    torch.testing.assert_close(grad, expected, rtol=1e-8, atol=1e-10)
