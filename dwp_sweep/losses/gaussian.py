"""Diagonal Gaussians in nats: log-density, entropy and divergence from the standard normal.

The arithmetic under the kernel bound and the VAE's loss. Sums run over the last axis.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def log_density(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """``log N(x; mean, exp(log_var))``, summed over the last axis: ``(..., d)`` to ``(...)``."""
    return -0.5 * (LOG_2PI + log_var + (x - mean).square() * (-log_var).exp()).sum(dim=-1)


def standard_log_density(x: Tensor) -> Tensor:
    """``log N(x; 0, 1)``, summed over the last axis."""
    return -0.5 * (LOG_2PI + x.square()).sum(dim=-1)


def entropy(log_var: Tensor) -> Tensor:
    """Entropy of ``N(., exp(log_var))``, summed over the last axis."""
    return 0.5 * (1 + LOG_2PI + log_var).sum(dim=-1)


def kl_from_standard(mean: Tensor, log_var: Tensor) -> Tensor:
    """``KL(N(mean, exp(log_var)) || N(0, 1))``, summed over the last axis; never negative."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=-1)


def draw(mean: Tensor, log_var: Tensor, generator: torch.Generator | None) -> Tensor:
    """One reparametrised draw of ``N(mean, exp(log_var))``.

    The generator, if any, is on the device of the mean.
    """
    noise = torch.empty_like(mean, requires_grad=False).normal_(generator=generator)
    return torch.addcmul(mean, noise, (0.5 * log_var).exp())
