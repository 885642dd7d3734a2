"""Fitting a `KernelMixture`: expectation maximisation, shrunk towards sizes of one shape.

Kernels are few for eight covariances of 27 dimensions, and what differs most between them is their size
(some live, some nearly dead). So the search starts from a scale mixture, components ``N(0, s_k C)`` with C
the second moments of all kernels, and each mean and covariance leaves that only as far as its kernels
outweigh ``shrinkage`` imagined ones: infinitely many keep the scale mixture, none give the mixture of
maximum likelihood, which on a few hundred kernels is worse than a single Gaussian.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dwp_sweep.metrics.kernel_structure import fit_scale_mixture
from dwp_sweep.nets.kernel_mixture import KernelMixture

VARIANCE_FLOOR = math.exp(-6.0)
"""Added to each variance of a component; the same as the default floor of the VAE's log-variance."""

SHRINKAGE = 100.0
"""Kernels that the common shape weighs in each component; chosen on held-out kernels of U-Nets."""

MAX_FIT_KERNELS = 50_000
"""Of more kernels a random part is fitted: it costs time and changes next to nothing."""

MAX_ITERATIONS = 300
TOLERANCE = 1e-4
"""Nats per kernel: a smaller change of the likelihood ends the search."""


def fit_mixture(
    kernels: Tensor,
    n_components: int = 8,
    seed: int = 0,
    variance_floor: float = VARIANCE_FLOOR,
    shrinkage: float = SHRINKAGE,
) -> KernelMixture:
    """Fit a mixture of full-covariance Gaussians.

    Args:
        kernels: Standardised, ``(n, 27)``; of more than `MAX_FIT_KERNELS` a random part is used.
        n_components: K.
        seed: Of that part; the search itself has no randomness.
        variance_floor: Added to each variance of each component.
        shrinkage: Weight of the common shape in each covariance, in kernels; a third of it is that of 0 in
            each mean.

    Returns:
        On the CPU, float32.

    Raises:
        ValueError: If there are fewer kernels than components.
    """
    if len(kernels) < max(2, n_components):
        raise ValueError(f"a mixture of {n_components} needs as many kernels, not {len(kernels)}")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(kernels), generator=generator)[:MAX_FIT_KERNELS]
    x = kernels.detach().cpu()[chosen].double()
    shape = _with_floor(x.T @ x / len(x), 1e-6 * float(x.square().mean()))
    state, last = _start(x, shape, n_components, variance_floor), -math.inf
    for _ in range(MAX_ITERATIONS):
        terms = state.log_terms(x)
        log_lik = float(terms.logsumexp(dim=1).mean())
        if abs(log_lik - last) < TOLERANCE:
            break
        state, last = _update(x, shape, terms.softmax(dim=1), state, variance_floor, shrinkage), log_lik
    roots = _precision_roots(state.covariances)
    return KernelMixture(state.weights.float(), state.means.float(), roots.float())


class _State(NamedTuple):
    """Weights ``(K,)``, means ``(K, d)`` and covariances ``(K, d, d)``."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def log_terms(self, x: Tensor) -> Tensor:
        """Log of weight times density of each component, ``(n, K)``."""
        return KernelMixture(self.weights, self.means, _precision_roots(self.covariances)).log_terms(x)


def _start(x: Tensor, shape: Tensor, n_components: int, variance_floor: float) -> _State:
    """The most likely scale mixture with the common shape."""
    dim = x.shape[1]
    fitted = fit_scale_mixture((x @ torch.linalg.inv(shape) * x).sum(dim=1), dim, n_components)
    covariances = _with_floor(fitted.sizes[:, None, None] * shape, variance_floor)
    return _State(fitted.weights, x.new_zeros(n_components, dim), covariances)


def _update(
    x: Tensor, shape: Tensor, share: Tensor, state: _State, variance_floor: float, shrinkage: float
) -> _State:
    """The components given each kernel's share in them, ``(n, K)``."""
    counts, pull = share.sum(dim=0), shrinkage / 3
    means = share.T @ x / (counts + pull)[:, None]
    scatter = torch.stack([_scatter(x - mean, part) for mean, part in zip(means, share.T, strict=True)])
    scatter = scatter + pull * means[:, :, None] * means[:, None, :]
    # How large the component's kernels are, in units of the common shape.
    traces = (scatter * torch.linalg.inv(shape)).sum(dim=(1, 2))
    sizes = (traces / (x.shape[1] * counts.clamp(min=1e-9))).clamp(min=1e-8)
    target = shrinkage * sizes[:, None, None] * shape
    covariances = (scatter + target) / (counts + shrinkage)[:, None, None]
    weights = (counts + 1) / (counts + 1).sum()  # one imagined kernel keeps a component from vanishing
    return _State(weights, means, _with_floor(covariances, variance_floor))


def _scatter(deviation: Tensor, weight: Tensor) -> Tensor:
    return (weight[:, None] * deviation).T @ deviation


def _with_floor(covariances: Tensor, floor: float) -> Tensor:
    return covariances + floor * torch.eye(covariances.shape[-1], dtype=covariances.dtype)


def _precision_roots(covariances: Tensor) -> Tensor:
    """Upper triangles U with ``U U^T`` the inverse: the Cholesky root of the mirrored inverse, mirrored."""
    inverse = torch.linalg.inv(covariances).flip(1, 2)
    root: Tensor = torch.linalg.cholesky(0.5 * (inverse + inverse.mT))
    return root.flip(1, 2)
