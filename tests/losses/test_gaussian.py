"""Gaussian arithmetic against torch.distributions."""

from __future__ import annotations

import torch
from torch.distributions import Independent, Normal, kl_divergence

from dwp_sweep.losses.gaussian import draw, entropy, kl_from_standard, log_density, standard_log_density


def moments() -> tuple[torch.Tensor, torch.Tensor, Independent, Independent]:
    generator = torch.Generator().manual_seed(0)
    mean, log_var = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    given = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    return mean, log_var, given, Independent(Normal(torch.zeros_like(mean), 1.0), 1)


def test_densities_entropy_and_divergence_are_those_of_torch() -> None:
    mean, log_var, given, standard = moments()
    x = mean + 0.7
    torch.testing.assert_close(log_density(x, mean, log_var), given.log_prob(x))
    torch.testing.assert_close(standard_log_density(x), standard.log_prob(x))
    torch.testing.assert_close(entropy(log_var), given.entropy())
    torch.testing.assert_close(kl_from_standard(mean, log_var), kl_divergence(given, standard))


def test_kl_is_zero_for_the_standard_normal_itself() -> None:
    zero = torch.zeros(3, 4)
    assert kl_from_standard(zero, zero).eq(0).all()


def test_a_draw_has_the_moments_asked_for_and_passes_gradients() -> None:
    mean = torch.full((200_000,), 2.0, requires_grad=True)
    log_var = torch.full((200_000,), -1.0, requires_grad=True)
    x = draw(mean, log_var, torch.Generator().manual_seed(0))
    assert abs(float(x.detach().mean()) - 2) < 0.01
    assert abs(float(x.detach().var().log()) + 1) < 0.02
    x.sum().backward()
    assert mean.grad is not None and mean.grad.eq(1).all()
    torch.testing.assert_close(log_var.grad, 0.5 * (x - mean).detach())
