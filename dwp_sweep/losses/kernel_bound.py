"""The bound on the divergence of a kernel's posterior from the deep weight prior.

The prior ``p(w) = integral p(w|z) p(z) dz`` of a VAE has no density to evaluate. With an encoder ``r(z|w)``,

    KL(q || p)  <=  E_q E_r [ log q(w) + log r(z|w) - log p(z) - log p(w|z) ],

and the difference is ``E_q KL(r(z|w) || p(z|w))``: an encoder that is exact makes the bound tight. A prior
that has a density, a mixture of Gaussians for one, needs no encoder: ``E_q [ log q(w) - log p(w) ]`` is the
divergence itself. Used by the deep weight prior (bound) and by the training of its VAEs (negative ELBO). It
asks of a prior only that it encodes and decodes or has a density.
Source: Sections 2.2-2.3 and Algorithm 1 of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dwp_sweep.losses.gaussian import draw, entropy, kl_from_standard, log_density, standard_log_density

Form = Literal["closed", "sampled"]

Decode = Callable[[Tensor], tuple[Tensor, Tensor]]

OfRows = Callable[[Tensor, Tensor], Tensor]

_ROWS_A_THREAD = 384

_ROWS_A_GPU = 8192
"""Kernels at once through a frozen decoder: on a CPU what fits the caches, on a GPU what fills it."""


class EncodesDecodes(Protocol):
    """Encoder and decoder with Gaussian outputs, over standardised kernels."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``(n, L)`` of ``r(z|x)`` for ``x`` ``(n, 27)``."""
        ...

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``(n, 27)`` of ``p(x|z)`` for ``z`` ``(n, L)``."""
        ...


@runtime_checkable
class KnowsItsDecoder(Protocol):
    """What lets the gradients of a frozen decoder's likelihood be had together with its value."""

    def decoder_parameters(self) -> Sequence[Tensor]:
        """All that `decode` depends on beside ``z``."""
        ...

    def decoder(self) -> Decode:
        """`decode`, made ready for many batches."""
        ...


@runtime_checkable
class HasLogDensity(Protocol):
    """A prior whose density over standardised kernels is known, a mixture of Gaussians for one."""

    def log_density(self, x: Tensor) -> Tensor:
        """``log p(x)`` in nats, ``(n,)``, for ``x`` ``(n, 27)``; with its graph to ``x``."""
        ...


class Subset(NamedTuple):
    """Some of ``n`` items and the factor that makes their sum an unbiased estimate of the whole sum."""

    indices: Tensor
    factor: float


def kernel_bound(
    w: Tensor,
    mean: Tensor,
    log_var: Tensor,
    prior: EncodesDecodes | HasLogDensity,
    scale: Tensor | float,
    generator: torch.Generator | None = None,
    form: Form = "closed",
) -> Tensor:
    """One-sample estimate, in nats, of an upper bound on ``KL(q || p)`` for each kernel.

    Computed in the precision of its arguments, inside an autocast region as well.

    Args:
        w: A reparametrised draw of ``q``, ``(n, 27)``, raw scale.
        mean: Of the posterior ``q``, ``(n, 27)``.
        log_var: Of the posterior ``q``, ``(n, 27)``.
        prior: Over standardised kernels ``w / scale``. Where it has a density, the estimate is of the
            divergence itself and exact up to the draw of ``w``.
        scale: Raw weight of one standardised unit: a number, or ``(n, 1)``.
        generator: For ``z``; on the device of ``w``. A prior with a density does not use it.
        form: ``closed`` uses the closed forms of the entropy of ``q`` and of ``KL(r || p(z))`` (less
            noise); ``sampled`` is Algorithm 1 to the letter. Both have the same expectation.

    Returns:
        ``(n,)``. It holds the change of variables, ``27 log(scale)``, which has no gradient but belongs
        to every comparison of nats.

    Raises:
        ValueError: If the form is unknown, or a scale that is a number is not positive (a tensor's values
            are not looked at: that would halt a GPU in every step).
    """
    if form not in ("closed", "sampled"):
        raise ValueError(f"form must be 'closed' or 'sampled', not {form!r}")
    # Half precision saves little here and would take 0.4 nats of every kernel's score at random.
    with torch.autocast(w.device.type, enabled=False):
        jacobian = w.shape[1] * _log_scale(scale, w)
        log_q = -entropy(log_var) if form == "closed" else log_density(w, mean, log_var)
        return log_q + prior_cost(w / scale, prior, generator, form) + jacobian


def negative_elbo(
    x: Tensor, vae: EncodesDecodes, generator: torch.Generator | None = None, kl_scale: float = 1.0
) -> Tensor:
    """One-sample estimate of the loss of a VAE, in nats, for each kernel.

    Args:
        x: Standardised kernels ``(n, 27)``. For nats of raw kernels add ``27 log(scale)``.
        vae: In training.
        generator: For ``z``; on the device of ``x``.
        kl_scale: Weight of the latent divergence; 1 is the bound, less is warm-up.

    Returns:
        ``(n,)``, at ``kl_scale=1`` in expectation at least ``-log p(x)``.
    """
    latent_mean, latent_log_var = vae.encode(x)
    z = draw(latent_mean, latent_log_var, generator)
    return kl_scale * kl_from_standard(latent_mean, latent_log_var) - _log_lik(x, z, vae)


def prior_cost(
    x: Tensor,
    prior: EncodesDecodes | HasLogDensity,
    generator: torch.Generator | None = None,
    form: Form = "closed",
) -> Tensor:
    """``-log p(x)``, or what is at least that in expectation, in nats ``(n,)``.

    Args:
        x: Standardised kernels ``(n, 27)``.
        prior: As for `kernel_bound`.
        generator: As for `kernel_bound`.
        form: As for `kernel_bound`.
    """
    if isinstance(prior, HasLogDensity):
        return -prior.log_density(x)
    latent_mean, latent_log_var = prior.encode(x)
    z = draw(latent_mean, latent_log_var, generator)
    if form == "closed":
        latent = kl_from_standard(latent_mean, latent_log_var)
    else:
        latent = log_density(z, latent_mean, latent_log_var) - standard_log_density(z)
    return latent - _log_lik(x, z, prior)


def subset(n: int, fraction: float, generator: torch.Generator | None = None) -> Subset:
    """Choose a random part of ``n`` items without replacement.

    Args:
        n: Number of items, at least 1.
        fraction: Part to choose, in (0, 1]; at least one item is chosen.
        generator: Its device is where the indices are.

    Returns:
        Indices ``(k,)`` and ``n / k``: every item is chosen with probability ``k / n``.

    Raises:
        ValueError: If ``n`` or the fraction is out of range.
    """
    if n < 1 or not 0 < fraction <= 1:
        raise ValueError(f"need at least one item and a fraction in (0, 1], not {n} and {fraction}")
    device = generator.device if generator is not None else torch.device("cpu")
    n_chosen = max(1, round(n * fraction))
    if n_chosen == n:
        return Subset(torch.arange(n, device=device), 1.0)
    return Subset(torch.randperm(n, generator=generator, device=device)[:n_chosen], n / n_chosen)


def by_rows(function: OfRows, a: Tensor, b: Tensor, n_rows: int) -> Tensor:
    """``function(a, b)``, computed ``n_rows`` at a time.

    Args:
        function: Of ``(k, p)`` and ``(k, q)`` to ``(k,)``, row by row; whatever else it depends on gets no
            gradient.
        a: ``(n, p)``.
        b: ``(n, q)``.
        n_rows: At once; changes time and memory, not the result.

    Returns:
        ``(n,)``, differentiable once with respect to ``a`` and ``b``.
    """
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        values: Tensor = _ByRows.apply(function, a, b, n_rows)  # type: ignore[no-untyped-call]
        return values
    return torch.cat(
        [function(*part) for part in zip(torch.split(a, n_rows), torch.split(b, n_rows), strict=True)]
    )


def _log_lik(x: Tensor, z: Tensor, vae: EncodesDecodes) -> Tensor:
    """``log p(x|z)``, ``(n,)``; a frozen decoder gives its gradients together with its values."""
    if not isinstance(vae, KnowsItsDecoder) or any(p.requires_grad for p in vae.decoder_parameters()):
        return log_density(x, *vae.decode(z))
    decode = vae.decoder()
    n_rows = _ROWS_A_THREAD * torch.get_num_threads() if x.device.type == "cpu" else _ROWS_A_GPU
    return by_rows(lambda some_x, some_z: log_density(some_x, *decode(some_z)), x, z, n_rows)


def _log_scale(scale: Tensor | float, w: Tensor) -> Tensor | float:
    if isinstance(scale, Tensor):
        return scale.log().expand(len(w), 1).squeeze(1)
    if not scale > 0:
        raise ValueError(f"scale must be positive, not {scale}")
    return math.log(scale)


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: OfRows, a: Tensor, b: Tensor, n_rows: int) -> Tensor:
        parts = zip(torch.split(a, n_rows), torch.split(b, n_rows), strict=True)
        values, *gradients = (
            torch.cat(column) for column in zip(*(_of(function, *p) for p in parts), strict=True)
        )
        ctx.save_for_backward(*gradients)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_a, by_b = ctx.saved_tensors
        return None, grad[:, None] * by_a, grad[:, None] * by_b, None


def _of(function: OfRows, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b = a.detach().requires_grad_(True), b.detach().requires_grad_(True)
    with torch.enable_grad():
        values = function(a, b)
        by_a, by_b = torch.autograd.grad(values.sum(), (a, b))
    return values.detach(), by_a, by_b
