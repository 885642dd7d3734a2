"""How good a fitted kernel prior is: held-out nats per raw kernel, against Gaussians and mixtures of them.

The end of the prior stage. All nats are of raw kernels: log-density of the standardised kernel minus
``27 log(scale)``. The rivals are fitted to the same standardised kernels. With ``standardise: filter`` the
scale of a filter is measured on its own kernels, held-out ones among them, so that nats are given those
scales and compare within that setting only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dwp_sweep.losses.gaussian import kl_from_standard
from dwp_sweep.losses.kernel_bound import negative_elbo
from dwp_sweep.losses.vae_loss import importance_log_lik
from dwp_sweep.metrics.kernel_structure import GaussianKind, gaussian_log_lik
from dwp_sweep.nets.kernel_groups import KERNEL_VOXELS
from dwp_sweep.nets.kernel_mixture import KernelMixture
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.stages.mixture_fit import fit_mixture
from dwp_sweep.training.compute import named_generator, named_seed

N_ELBO_SAMPLES = 20
N_IMPORTANCE_SAMPLES = 64
MAX_IMPORTANCE_KERNELS = 2048
"""Of more held-out kernels, a random part says by how much the bound is below the likelihood."""

RIVALS: dict[str, GaussianKind] = {
    "diagonal_gaussian": "diagonal",
    "full_gaussian": "full",
    "scale_mixture": "scale_mixture",
}
RIVAL_COMPONENTS = 8
KERNELS_PER_COMPONENT = KERNEL_VOXELS + 1
"""Fewer points than this span no covariance of full rank."""


class KernelSplit(NamedTuple):
    """Standardised kernels to fit and to score with, and the scales ``(m, 1)`` of the latter."""

    train: Tensor
    held_out: Tensor
    scale: Tensor


@torch.no_grad()
def prior_scores(model: KernelVAE | KernelMixture, split: KernelSplit, seed: int) -> dict[str, float]:
    """Held-out nats per raw kernel, and what the model gains over simpler ones.

    Args:
        model: In evaluation mode, on the CPU.
        split: Its kernels.
        seed: Of the estimates' draws and the rival mixture's start.

    Returns:
        ``held_out_elbo_nats`` (of a mixture its exact log-density), ``held_out_log_lik_nats`` (of a VAE an
        importance-weighted estimate, in expectation still a lower bound), ``gain_over_*_nats`` (first
        minus the rival) and, for a VAE, ``latent_kl_nats``.
    """
    jacobian = -KERNEL_VOXELS * float(split.scale.log().mean())
    rivals = {name: gaussian_log_lik(split.train, split.held_out, kind) for name, kind in RIVALS.items()}
    if isinstance(model, KernelMixture):
        elbo = log_lik = float(model.log_density(split.held_out).double().mean())
        scores = {}
    else:
        elbo, log_lik = _vae_log_liks(model, split.held_out, seed)
        rivals["mixture"] = _rival_mixture(split, seed)
        scores = {"latent_kl_nats": float(kl_from_standard(*model.encode(split.held_out)).mean())}
    gains = {f"gain_over_{name}_nats": elbo - rival for name, rival in rivals.items()}
    nats = {"held_out_elbo_nats": elbo + jacobian, "held_out_log_lik_nats": log_lik + jacobian}
    return nats | gains | scores


def _vae_log_liks(vae: KernelVAE, held_out: Tensor, seed: int) -> tuple[float, float]:
    """Mean ELBO and importance-weighted log-likelihood of standardised kernels."""
    generator = named_generator(seed, "evaluation")
    elbos = _mean_of(lambda: -negative_elbo(held_out, vae, generator))
    part = torch.randperm(len(held_out), generator=generator)[:MAX_IMPORTANCE_KERNELS]
    weighted = importance_log_lik(held_out[part], vae, generator, N_IMPORTANCE_SAMPLES)
    elbo = float(elbos.mean())
    return elbo, elbo + float((weighted - elbos[part]).mean())


def _mean_of(draw: Callable[[], Tensor]) -> Tensor:
    return torch.stack([draw() for _ in range(N_ELBO_SAMPLES)]).double().mean(dim=0)


def _rival_mixture(split: KernelSplit, seed: int) -> float:
    n_components = min(RIVAL_COMPONENTS, max(1, len(split.train) // KERNELS_PER_COMPONENT))
    mixture = fit_mixture(split.train, n_components, named_seed(seed, "rival"))
    return float(mixture.log_density(split.held_out).double().mean())
