"""The VAE's loss against the plain bound, free bits by hand, and the importance-weighted likelihood."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from dwp_sweep.losses.gaussian import kl_from_standard
from dwp_sweep.losses.kernel_bound import negative_elbo
from dwp_sweep.losses.vae_loss import importance_log_lik, vae_loss

D, L, NOISE = 27, 2, 0.5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class LinearVAE:
    """``x = A z + noise``: the likelihood is Gaussian, and the exact posterior is known."""

    def __init__(self, spread: float = 1.0, off: float = 0.0) -> None:
        self.map = torch.tensor([0.3, 1.0]) * torch.randn(D, L, generator=seeded()) / math.sqrt(D)
        precision = torch.eye(L) + self.map.T @ self.map / NOISE**2
        self.covariance = torch.linalg.inv(precision)
        self.spread, self.off = spread, off

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x @ self.map @ self.covariance / NOISE**2 + self.off
        variance = self.spread * self.covariance.diagonal()
        return mean, variance.log().expand_as(mean)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z @ self.map.T, torch.full((len(z), D), 2 * math.log(NOISE))

    def log_lik(self, x: Tensor) -> Tensor:
        covariance = self.map @ self.map.T + NOISE**2 * torch.eye(D)
        return MultivariateNormal(torch.zeros(D), covariance).log_prob(x)


def kernels(n: int = 30) -> Tensor:
    return torch.randn(n, D, generator=seeded(5))


@pytest.mark.parametrize("kl_scale", [0.0, 0.3, 1.0])
def test_without_free_bits_it_is_the_mean_of_the_plain_bound(kl_scale: float) -> None:
    found = vae_loss(kernels(), LinearVAE(), seeded(), kl_scale)
    torch.testing.assert_close(found, negative_elbo(kernels(), LinearVAE(), seeded(), kl_scale).mean())


def test_free_bits_are_the_least_that_a_latent_dimension_costs() -> None:
    vae = LinearVAE()
    by_dimension = kl_from_standard(*(part.unsqueeze(2) for part in vae.encode(kernels()))).mean(0)
    low, high = sorted(by_dimension.tolist())
    bits = (low + high) / 2
    more = vae_loss(kernels(), vae, seeded(), free_bits=bits) - vae_loss(kernels(), vae, seeded())
    assert float(more) == pytest.approx(bits - low, rel=1e-3)


def test_a_latent_space_within_its_free_bits_feels_no_pull() -> None:
    mean = torch.zeros(4, L, requires_grad=True)

    class Free(LinearVAE):
        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return mean + 0.1, torch.zeros(4, L)

        def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros(len(z), D) + 0 * z.sum(), torch.zeros(len(z), D)

    for bits, pulled in ((0.0, True), (1.0, False)):
        mean.grad = None
        vae_loss(kernels(4), Free(), seeded(), free_bits=bits).backward()
        assert mean.grad is not None and bool((mean.grad != 0).any()) is pulled


def test_importance_weights_lift_the_bound_of_a_poor_encoder_to_the_exact_likelihood() -> None:
    poor, x = LinearVAE(spread=2.0, off=0.3), kernels()
    exact = float(poor.log_lik(x).mean())
    elbo = -float(torch.stack([negative_elbo(x, poor, seeded(s)).mean() for s in range(50)]).mean())
    few = float(importance_log_lik(x, poor, seeded(), 8).mean())
    many = float(importance_log_lik(x, poor, seeded(), 2000).mean())
    assert elbo < exact - 0.3
    assert elbo < few < exact + 0.05
    assert many == pytest.approx(exact, abs=0.03)


def test_an_encoder_without_correlations_left_out_is_exact_with_one_sample() -> None:
    vae = LinearVAE()
    vae.map = torch.linalg.qr(vae.map).Q  # orthogonal columns: the posterior is factorised
    vae.covariance = torch.linalg.inv(torch.eye(L) + vae.map.T @ vae.map / NOISE**2)
    found = importance_log_lik(kernels(), vae, seeded(), 1)
    torch.testing.assert_close(found, vae.log_lik(kernels()), rtol=1e-4, atol=1e-3)
