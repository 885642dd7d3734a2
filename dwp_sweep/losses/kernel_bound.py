"""The bound on the divergence of a kernel's posterior from the deep weight prior.

The prior ``p(w) = integral p(w|z) p(z) dz`` has no density to evaluate. With an encoder ``r(z|w)``,

    KL(q || p)  <=  E_q E_r [ log q(w) + log r(z|w) - log p(z) - log p(w|z) ],

and the difference is ``E_q KL(r(z|w) || p(z|w))``: an encoder that is exact makes the bound tight.
Used by the deep weight prior (bound) and by the training of its VAEs (negative ELBO). It asks of a VAE
only that it encodes and decodes. Source: Sections 2.2-2.3 and Algorithm 1 of the paper.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from dwp_sweep.losses.gaussian import draw, entropy, kl_from_standard, log_density, standard_log_density

Form = Literal["closed", "sampled"]


class EncodesDecodes(Protocol):
    """Encoder and decoder with Gaussian outputs, over standardised kernels."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``(n, L)`` of ``r(z|x)`` for ``x`` ``(n, 27)``."""
        ...

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``(n, 27)`` of ``p(x|z)`` for ``z`` ``(n, L)``."""
        ...


def kernel_bound(
    w: Tensor,
    mean: Tensor,
    log_var: Tensor,
    vae: EncodesDecodes,
    scale: Tensor | float,
    generator: torch.Generator | None = None,
    form: Form = "closed",
) -> Tensor:
    """One-sample estimate, in nats, of an upper bound on ``KL(q || p)`` for each kernel.

    Args:
        w: A reparametrised draw of ``q``, ``(n, 27)``, raw scale.
        mean: Of the posterior ``q``, ``(n, 27)``.
        log_var: Of the posterior ``q``, ``(n, 27)``.
        vae: The prior, over standardised kernels ``w / scale``.
        scale: Raw weight of one standardised unit: a number, or ``(n, 1)``.
        generator: For ``z``; on the device of ``w``.
        form: ``closed`` uses the closed forms of the entropy of ``q`` and of ``KL(r || p(z))`` (less
            noise); ``sampled`` is Algorithm 1 to the letter. Both have the same expectation.

    Returns:
        ``(n,)``. It holds the change of variables, ``27 log(scale)``, which has no gradient but belongs
        to every comparison of nats.

    Raises:
        ValueError: If the form is unknown or a scale is not positive.
    """
    if form not in ("closed", "sampled"):
        raise ValueError(f"form must be 'closed' or 'sampled', not {form!r}")
    log_scale = _log_scale(scale, w)
    latent_mean, latent_log_var = vae.encode(w / scale)
    z = draw(latent_mean, latent_log_var, generator)
    log_lik = log_density(w / scale, *vae.decode(z)) - w.shape[1] * log_scale
    if form == "closed":
        return kl_from_standard(latent_mean, latent_log_var) - entropy(log_var) - log_lik
    log_r = log_density(z, latent_mean, latent_log_var)
    return log_density(w, mean, log_var) + log_r - standard_log_density(z) - log_lik


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
    return kl_scale * kl_from_standard(latent_mean, latent_log_var) - log_density(x, *vae.decode(z))


class Subset(NamedTuple):
    """Some of ``n`` items and the factor that makes their sum an unbiased estimate of the whole sum."""

    indices: Tensor
    factor: float


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


def _log_scale(scale: Tensor | float, w: Tensor) -> Tensor | float:
    if isinstance(scale, Tensor):
        return scale.log().expand(len(w), 1).squeeze(1)
    if not scale > 0:
        raise ValueError(f"scale must be positive, not {scale}")
    return math.log(scale)
