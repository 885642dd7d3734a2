"""Prior stage: fit the prior of one kernel group and score it (Section 2.7.2, Table 2, Appendix B).

Seven nodes, one a group. Writes ``prior.safetensors`` and ``prior.json``. The plateau and the choice of
the epoch watch the negative ELBO of held-out kernels. Scores are held-out nats of raw kernels: log-density of
the standardised kernel minus ``27 log(scale)``, against Gaussians and mixtures fitted to the same kernels.
With ``standardise: filter`` the scale of a filter is measured on its own kernels, held-out ones among them:
such nats compare within that setting only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.losses.gaussian import kl_from_standard
from dwp_sweep.losses.kernel_bound import negative_elbo
from dwp_sweep.losses.vae_loss import importance_log_lik
from dwp_sweep.metrics.kernel_structure import GaussianKind, gaussian_log_lik
from dwp_sweep.nets.kernel_bank import KernelBank, load_bank
from dwp_sweep.nets.kernel_groups import KERNEL_VOXELS, BankGroup
from dwp_sweep.nets.kernel_mixture import KernelMixture
from dwp_sweep.nets.kernel_prior import KernelPrior, load_prior, save_prior
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.net_files import write_tensors
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.stages.figures import kernel_figure, learning_curve
from dwp_sweep.stages.imported import Imported, copy_imported
from dwp_sweep.stages.mixture_fit import fit_mixture
from dwp_sweep.stages.prior_fit import PriorConfig, fit_model
from dwp_sweep.strict import StrictModel
from dwp_sweep.training.compute import (
    ComputeConfig,
    memory_advice,
    named_generator,
    named_seed,
    resolve_device,
)
from dwp_sweep.training.loop import FitResult

PRIOR_FILES = ("prior.safetensors", "prior.json")
KERNEL_EXAMPLES = "kernels_and_samples"
MIN_KERNELS = 20


class PriorStageConfig(StrictModel):
    """All that one group's prior depends on beside the bank."""

    brought: Imported | None = None
    group: int = Field(ge=1, le=7)
    prior: PriorConfig = PriorConfig()
    compute: ComputeConfig = ComputeConfig()

    def unread(self) -> frozenset[str]:
        """A mixture is fitted on the CPU in float64, whatever networks compute with."""
        return frozenset({"compute"} if self.prior.kind == "mixture" else ())


def run(
    config: PriorStageConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    """Standardise, hold out, fit, compare with simpler models, draw."""
    if config.brought is not None:
        copy_imported(config.brought, PRIOR_FILES, out_dir)
        load_prior(out_dir)
        return {}
    with memory_advice("prior.batch_size", config.prior.batch_size):
        return _fit(config, inputs["bank"][0], work_dir, out_dir, emit)


def _fit(
    config: PriorStageConfig, folder: Path, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    settings, bank = config.prior, load_bank(folder)
    _require_enough(bank, config)
    group = bank.groups[config.group]
    try:
        scale = bank.kernel_scales(config.group, settings.standardise)
        scales = bank.scales(config.group, settings.standardise)
    except ValueError as error:
        raise InputError(Problem(str(folder), str(error))) from None
    kernels = group.kernels / scale
    train, held_out = _hold_out(group, settings)
    split = KernelSplit(kernels[train], kernels[held_out], scale[held_out])
    device = resolve_device(config.compute)
    model, result = fit_model(settings, split.train, split.held_out, device, work_dir, emit)
    prior = KernelPrior(config.group, model, scales, settings.standardise, group.channels)
    save_prior(prior, out_dir)
    _draw(prior, kernels * scale, result, settings, out_dir)
    return {
        "best_epoch": float(result.best_epoch),
        "best_val_loss": result.best["val_loss"],
        "n_kernels": float(len(kernels)),
        "n_steps": float(result.n_steps),
        **prior_scores(model, split, settings.seed),
    }


def _require_enough(bank: KernelBank, config: PriorStageConfig) -> None:
    settings, n = config.prior, len(bank.groups[config.group].kernels)
    what, needed = "a VAE", MIN_KERNELS
    if settings.kind == "mixture":
        what = f"a mixture of {settings.n_components} Gaussians"
        needed = max(MIN_KERNELS, KERNELS_PER_COMPONENT * settings.n_components)
    if n >= needed:
        return
    dropped = bank.dropped.get(config.group)
    left_out = "" if dropped is None else f" after {dropped} tiny ones were dropped"
    raise InputError(
        Problem(
            f"kernel group {config.group}",
            f"the bank holds {n} kernels{left_out}, {what} needs at least {needed}",
            "harvest more networks (source.n_seeds, n_cycles) or lower harvest.drop_below"
            + (" or prior.n_components" if settings.kind == "mixture" else ""),
        )
    )


def _hold_out(group: BankGroup, settings: PriorConfig) -> tuple[Tensor, Tensor]:
    """Indices of the kernels to learn from and of those held out.

    A place in the network is held out in all networks together: the next cycle of the learning rate leaves
    many kernels close to where they were, and a near-copy in training would flatter the held-out score.
    """
    places, place = torch.unique(torch.stack([group.layer, group.position]), dim=1, return_inverse=True)
    n_places = places.shape[1]
    if n_places < 2:
        what = (
            f"all {len(group.kernels)} kernels stand at one place of the network, and one place is held out"
        )
        raise InputError(
            Problem("the kernel bank", what, "harvest a wider network, or lower harvest.drop_below")
        )
    order = torch.randperm(n_places, generator=named_generator(settings.seed, "held_out"))
    is_held_out = torch.zeros(n_places, dtype=torch.bool)
    n_held_out = min(max(1, round(settings.held_out * n_places)), n_places - 1)
    is_held_out[order[:n_held_out]] = True
    return (~is_held_out[place]).nonzero().flatten(), is_held_out[place].nonzero().flatten()


def _draw(
    prior: KernelPrior, kernels: Tensor, result: FitResult, settings: PriorConfig, out_dir: Path
) -> None:
    generator = named_generator(settings.seed, "figure")
    chosen = kernels[torch.randperm(len(kernels), generator=generator)[:24]]
    samples = prior.sample(len(chosen), generator)
    # What the picture shows as numbers, so that a report can put all groups side by side.
    write_tensors(out_dir, KERNEL_EXAMPLES, {"kernels": chosen, "samples": samples}, {"group": prior.group})
    figures = out_dir / "figures"
    kernel_figure(chosen, samples, figures / "kernels_and_samples.png", f"Kernel group {prior.group}")
    if settings.kind == "mixture":
        return  # fitted at once: there is no curve
    learning_curve(
        result.history,
        figures / "learning_curve.png",
        f"Kernel prior, group {prior.group}",
        [result.best_epoch],
        "Negative ELBO, nats per standardised kernel",
    )


stage = Stage(
    name="prior",
    version=2,
    config=PriorStageConfig,
    run=run,
    n_steps=lambda config: 1 if config.prior.kind == "mixture" else config.prior.max_epochs,
)


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
        n_components = min(RIVAL_COMPONENTS, max(1, len(split.train) // KERNELS_PER_COMPONENT))
        mixture = fit_mixture(split.train, n_components, named_seed(seed, "rival"))
        rivals["mixture"] = float(mixture.log_density(split.held_out).double().mean())
        scores = {"latent_kl_nats": float(kl_from_standard(*model.encode(split.held_out)).mean())}
    gains = {f"gain_over_{name}_nats": elbo - rival for name, rival in rivals.items()}
    nats = {"held_out_elbo_nats": elbo + jacobian, "held_out_log_lik_nats": log_lik + jacobian}
    return nats | gains | scores


def _vae_log_liks(vae: KernelVAE, held_out: Tensor, seed: int) -> tuple[float, float]:
    """Mean ELBO and importance-weighted log-likelihood of standardised kernels."""
    generator = named_generator(seed, "evaluation")
    draws = [-negative_elbo(held_out, vae, generator) for _ in range(N_ELBO_SAMPLES)]
    elbos = torch.stack(draws).double().mean(dim=0)
    part = torch.randperm(len(held_out), generator=generator)[:MAX_IMPORTANCE_KERNELS]
    weighted = importance_log_lik(held_out[part], vae, generator, N_IMPORTANCE_SAMPLES)
    elbo = float(elbos.mean())
    return elbo, elbo + float((weighted - elbos[part]).mean())
