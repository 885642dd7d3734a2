"""How much structure kernels have: smoothness in space, and likelihood under Gaussians and mixtures of sizes.

Scores of a kernel bank (is there anything for a prior to learn?) and the yardstick of a prior (how many
nats does it gain over a Gaussian?). A scale mixture is one shape of covariance in several sizes, fitted by
expectation maximisation. Kernels are rows of 27 numbers.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

GaussianKind = Literal["diagonal", "full", "scale_mixture"]

RIDGE = 1e-6
"""Part of the mean variance that is added to each variance: a voxel that never varies has none."""

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


def autocorrelation(kernels: Tensor, strongest: float = 0.5) -> float:
    """Mean lag-1 spatial autocorrelation of the stronger kernels; white noise has expectation 0.

    For one kernel, over its 54 pairs of voxels that share a face:
    ``sum(a * b) / sum((a**2 + b**2) / 2)``, in [-1, 1]; 1 for a constant kernel, -1 for a checkerboard.
    The kernel's mean is not taken off, which is what makes the expectation of white noise exactly 0 (any
    independent voxels with symmetric distributions), whatever each kernel's scale.

    Args:
        kernels: ``(n, 27)``, order D, H, W. "Stronger" compares all rows, so bring layers of
            different scale to one scale first.
        strongest: Part of the kernels, those of the largest norms, that counts: dead kernels are noise.

    Returns:
        The mean over those kernels, zero kernels left out; NaN if there are none.

    Raises:
        ValueError: If the shape is another, or the part is not in (0, 1].
    """
    _check(kernels)
    if not 0 < strongest <= 1:
        raise ValueError(f"strongest must be in (0, 1], not {strongest}")
    chosen = _strongest(kernels.detach().double(), strongest).view(-1, 3, 3, 3)
    if not len(chosen):
        return math.nan
    product = torch.zeros(len(chosen), dtype=chosen.dtype, device=chosen.device)
    square = torch.zeros_like(product)
    for axis in (1, 2, 3):
        a, b = chosen.narrow(axis, 0, 2), chosen.narrow(axis, 1, 2)
        product += (a * b).sum(dim=(1, 2, 3))
        square += (a * a + b * b).sum(dim=(1, 2, 3)) / 2
    return float((product / square).mean())


def gaussian_log_lik(kernels_train: Tensor, kernels_test: Tensor, kind: GaussianKind = "diagonal") -> float:
    """Mean log-likelihood, in nats per kernel, of kernels under a Gaussian fitted to others.

    Args:
        kernels_train: ``(n, 27)``, to fit mean and (co)variance by maximum likelihood.
        kernels_test: ``(m, 27)``, in the same units.
        kind: ``diagonal`` or ``full`` covariance; or ``scale_mixture``: no mean, the full second moments C,
            and a kernel is ``N(0, s_k C)`` with probability ``pi_k`` (eight sizes).

    Raises:
        ValueError: If a shape or the kind is another, or all training kernels are equal (for the scale
            mixture: zero).
    """
    _check(kernels_train)
    _check(kernels_test)
    if kind not in get_args(GaussianKind):
        raise ValueError(f"kind must be one of {get_args(GaussianKind)}, not {kind!r}")
    train, test = kernels_train.detach().double(), kernels_test.detach().double()
    if kind == "scale_mixture":
        return _scale_mixture_log_lik(train, test)
    root = _root(torch.cov(train.T, correction=0), kind == "diagonal")
    return float(_log_density(test - train.mean(dim=0), root).mean())


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


def _strongest(kernels: Tensor, part: float) -> Tensor:
    norms = kernels.norm(dim=1)
    chosen = norms.topk(math.ceil(part * len(norms))).indices
    return kernels[chosen[norms[chosen] > 0]]


def _scale_mixture_log_lik(train: Tensor, test: Tensor) -> float:
    root = _root(train.T @ train / len(train), diagonal=False)
    log_det: Tensor = 2 * root.diagonal().log().sum()
    fitted = fit_scale_mixture(_distances(train, root), train.shape[1])
    return float(scale_mixture_log_density(_distances(test, root), log_det, train.shape[1], fitted).mean())


def _root(covariance: Tensor, diagonal: bool) -> Tensor:
    """Cholesky root of a covariance after its ridge."""
    ridge = RIDGE * covariance.diagonal().mean()
    if not ridge > 0:
        raise ValueError("no Gaussian can be fitted to kernels that are all equal")
    ridged = covariance + ridge * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    root: Tensor = torch.linalg.cholesky(ridged.diagonal().diag() if diagonal else ridged)
    return root


def _distances(deviation: Tensor, root: Tensor) -> Tensor:
    """Squared Mahalanobis distances ``(m,)`` of deviations ``(m, d)``."""
    white: Tensor = torch.linalg.solve_triangular(root, deviation.T, upper=False)
    return white.square().sum(dim=0)


def _log_density(deviation: Tensor, root: Tensor) -> Tensor:
    """Gaussian log-density ``(m,)`` from deviations ``(m, d)`` and the Cholesky root of the covariance."""
    log_det: Tensor = 2 * root.diagonal().log().sum()
    distance = _distances(deviation, root)
    return -0.5 * (distance + log_det + deviation.shape[1] * math.log(2 * math.pi))


def _log_terms(distances: Tensor, dim: int, weights: Tensor, sizes: Tensor) -> Tensor:
    return weights.log() - 0.5 * (dim * sizes.log() + distances[:, None] / sizes)


def _check(kernels: Tensor) -> None:
    if kernels.dim() != 2 or kernels.shape[1] != 27:
        raise ValueError(f"kernels are rows of 27 numbers, not {tuple(kernels.shape)}")
