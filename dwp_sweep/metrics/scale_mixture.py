"""A zero-mean Gaussian whose size varies from kernel to kernel: ``p(x) = sum_k pi_k N(0, s_k C)``.

The yardstick for priors whose gain is only that some kernels are large and others nearly dead. ``C`` is
fixed; weights ``pi`` and sizes ``s`` are found by expectation maximisation on the Mahalanobis distances
alone. Knows nothing of kernels: rows of numbers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-6
"""Nats per row: less gain than this in an iteration ends the search."""


class ScaleMixture(NamedTuple):
    """A fitted mixture over sizes.

    Attributes:
        weights: ``(K,)``, sum 1.
        sizes: ``(K,)``, factors of the covariance ``C``.
        history: Mean log-likelihood after each iteration, without the determinant of ``C`` and 2 pi.
    """

    weights: Tensor
    sizes: Tensor
    history: tuple[float, ...]


def fit_scale_mixture(
    distances: Tensor, dim: int, n_components: int = 8, max_iterations: int = 500
) -> ScaleMixture:
    """Maximum-likelihood weights and sizes.

    Args:
        distances: Squared Mahalanobis distances ``x^T C^-1 x``, ``(n,)``, not all zero.
        dim: Dimension of ``x``.
        n_components: K; the start spreads their sizes over the quantiles of the distances.
        max_iterations: At most so many.
    """
    levels = (torch.arange(n_components, dtype=distances.dtype, device=distances.device) + 0.5) / n_components
    floor = 1e-9 * distances.mean()
    sizes = (distances.quantile(levels) / dim).clamp(min=floor / dim)
    weights = torch.full_like(sizes, 1 / n_components)
    history: list[float] = []
    while len(history) < max_iterations:
        terms = _log_terms(distances, dim, weights, sizes)
        history.append(float(terms.logsumexp(dim=1).mean()))
        if len(history) > 1 and history[-1] - history[-2] < TOLERANCE:
            break
        share = terms.softmax(dim=1)
        counts = share.sum(dim=0).clamp(min=torch.finfo(share.dtype).tiny)
        weights = counts / counts.sum()
        sizes = ((share * distances[:, None]).sum(dim=0) / (dim * counts)).clamp(min=floor / dim)
    return ScaleMixture(weights, sizes, tuple(history))


def scale_mixture_log_density(distances: Tensor, log_det: Tensor, dim: int, fitted: ScaleMixture) -> Tensor:
    """Log-density ``(m,)`` of rows from their squared distances and the log-determinant of ``C``."""
    terms = _log_terms(distances, dim, fitted.weights, fitted.sizes)
    return terms.logsumexp(dim=1) - 0.5 * (log_det + dim * math.log(2 * math.pi))


def _log_terms(distances: Tensor, dim: int, weights: Tensor, sizes: Tensor) -> Tensor:
    return weights.log() - 0.5 * (dim * sizes.log() + distances[:, None] / sizes)
