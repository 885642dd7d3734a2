"""A Gaussian mixture over standardised 3x3x3 kernels: the prior whose density can be evaluated.

The rival of the kernel VAE (``prior.kind: mixture``): `fit_mixture` makes it, nothing in it
learns in target training, and ``log_density`` is exact, so that no bound is needed. It sees standardised
kernels only: the scale of a layer stands in `KernelPrior`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dwp_sweep.nets.kernel_groups import KERNEL_VOXELS


class KernelMixture(nn.Module):
    """``p(x) = sum_k weights[k] N(x; means[k], covariance_k)`` over kernels ``x`` of 27 numbers.

    It has buffers only, no parameters.

    Args:
        weights: ``(K,)``, positive; they are normalised.
        means: ``(K, 27)``.
        roots: ``(K, 27, 27)`` with a positive diagonal; upper triangles U with ``U U^T`` the inverse of the
            covariance: white noise is then ``(x - mean) U``, one matrix product for all components.

    Raises:
        ValueError: If shapes do not fit each other, or a weight or a diagonal is not positive.
    """

    def __init__(self, weights: Tensor, means: Tensor, roots: Tensor) -> None:
        super().__init__()
        n, d = len(weights), KERNEL_VOXELS
        if n < 1 or weights.shape != (n,) or means.shape != (n, d) or roots.shape != (n, d, d):
            raise ValueError(
                f"a mixture needs weights (K,), means (K, {d}) and roots (K, {d}, {d}), not "
                f"{tuple(weights.shape)}, {tuple(means.shape)} and {tuple(roots.shape)}"
            )
        if not (weights > 0).all() or not (roots.diagonal(dim1=1, dim2=2) > 0).all():
            raise ValueError("the weights and the diagonals of the roots of a mixture must be positive")
        self.register_buffer("weights", weights / weights.sum())
        self.register_buffer("means", means)
        self.register_buffer("roots", roots.triu())

    weights: Tensor
    means: Tensor
    roots: Tensor

    @classmethod
    def blank(cls, n_components: int) -> KernelMixture:
        """Equal standard Gaussians, to be filled from a state dict.

        Raises:
            ValueError: If there is no component.
        """
        d = KERNEL_VOXELS
        return cls(
            torch.ones(n_components), torch.zeros(n_components, d), torch.eye(d).repeat(n_components, 1, 1)
        )

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return len(self.weights)

    def log_density(self, x: Tensor) -> Tensor:
        """``log p(x)`` in nats, ``(N,)``, for standardised kernels ``(N, 27)``; differentiable in ``x``.

        Raises:
            ValueError: If ``x`` has another shape.
        """
        return self.log_terms(x).logsumexp(dim=1)

    def log_terms(self, x: Tensor) -> Tensor:
        """Log of each component's weight times its density, ``(N, K)``.

        Raises:
            ValueError: If ``x`` has another shape.
        """
        if x.dim() != 2 or x.shape[1] != KERNEL_VOXELS:
            raise ValueError(f"the mixture takes kernels of shape (N, {KERNEL_VOXELS}), not {tuple(x.shape)}")
        maps = self.roots.permute(1, 0, 2).flatten(1)  # (27, K * 27)
        offsets = torch.einsum("kd,kde->ke", self.means, self.roots).flatten()
        white = torch.addmm(-offsets, x, maps).view(len(x), self.n_components, -1)  # (N, K, 27)
        return self._log_heights() - 0.5 * white.square().sum(dim=2)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw standardised kernels ``(n, 27)``.

        Args:
            n: How many.
            generator: On the device of the mixture; None: torch's default.
        """
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(
            (n, KERNEL_VOXELS), generator=generator, device=self.means.device, dtype=self.means.dtype
        )
        samples = self.means[component]
        for place in range(self.n_components):
            here = component == place
            # Rows x = mean + noise U^-1: their covariance is U^-T U^-1.
            samples[here] += torch.linalg.solve_triangular(
                self.roots[place], noise[here], upper=True, left=False
            )
        return samples

    def encoder_parameters(self) -> list[nn.Parameter]:
        """What goes on learning in target training: nothing."""
        return []

    def _log_heights(self) -> Tensor:
        """Log of each component's weight times its density at its mean, ``(K,)``."""
        log_det = self.roots.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        return self.weights.log() + log_det - 0.5 * KERNEL_VOXELS * math.log(2 * math.pi)
