"""What a kernel VAE minimises while it learns, and how likely held-out kernels are under it.

`vae_loss` is the negative ELBO with two remedies against a latent space that is switched off: a weight of
the latent divergence that the caller may warm up, and free bits. `importance_log_lik` bounds the
log-likelihood more tightly than the ELBO, so that a VAE is not judged by its encoder's faults. Used by the
prior stage.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dwp_sweep.losses.gaussian import draw, kl_from_standard, log_density, standard_log_density
from dwp_sweep.losses.kernel_bound import EncodesDecodes


def vae_loss(
    x: Tensor,
    vae: EncodesDecodes,
    generator: torch.Generator | None = None,
    kl_scale: float = 1.0,
    free_bits: float = 0.0,
) -> Tensor:
    """Mean loss of a batch, in nats per standardised kernel.

    Args:
        x: Standardised kernels ``(n, 27)``.
        vae: In training.
        generator: For ``z``; on the device of ``x``.
        kl_scale: Weight of the latent divergence; 1 is the bound, less is warm-up.
        free_bits: Nats of each latent dimension's divergence, averaged over the batch, that cost nothing
            (Kingma et al., 2016, https://arxiv.org/abs/1606.04934, appendix C.8).

    Returns:
        A scalar; with ``kl_scale=1`` and ``free_bits=0`` the mean of `negative_elbo`.
    """
    mean, log_var = vae.encode(x)
    z = draw(mean, log_var, generator)
    by_dimension = kl_from_standard(mean.unsqueeze(2), log_var.unsqueeze(2)).mean(dim=0)  # (L,)
    latent = by_dimension.clamp(min=free_bits).sum()
    return kl_scale * latent - log_density(x, *vae.decode(z)).mean()


@torch.no_grad()
def importance_log_lik(
    x: Tensor, vae: EncodesDecodes, generator: torch.Generator | None = None, n_samples: int = 64
) -> Tensor:
    """Importance-weighted estimate of ``log p(x)``, in nats, for each standardised kernel.

    ``log mean_s [ p(x|z_s) p(z_s) / r(z_s|x) ]``: in expectation between the ELBO (one sample) and
    ``log p(x)``, which it reaches as samples grow (Burda et al., 2016, https://arxiv.org/abs/1509.00519).

    Args:
        x: Standardised kernels ``(n, 27)``. For nats of raw kernels subtract ``27 log(scale)``.
        vae: Fitted.
        generator: For ``z``; on the device of ``x``.
        n_samples: Draws of ``z`` for each kernel.

    Returns:
        ``(n,)``.
    """
    mean, log_var = vae.encode(x)
    log_ratios = []
    for _ in range(n_samples):
        z = draw(mean, log_var, generator)
        log_joint = log_density(x, *vae.decode(z)) + standard_log_density(z)
        log_ratios.append(log_joint - log_density(z, mean, log_var))
    return torch.stack(log_ratios).logsumexp(dim=0) - math.log(n_samples)
