"""Prior stage: fit the VAE of one kernel group (Section 2.7.2, Table 2, Appendix B).

Seven nodes, one a group. Writes ``prior.safetensors`` and ``prior.json``. The plateau and the choice of
the epoch watch the negative ELBO of held-out kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.losses.gaussian import kl_from_standard
from dwp_sweep.losses.kernel_bound import negative_elbo
from dwp_sweep.metrics.kernel_structure import gaussian_log_lik
from dwp_sweep.nets.kernel_bank import BankGroup, load_bank
from dwp_sweep.nets.kernel_prior import KernelPrior, load_prior, save_prior
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.stages.brought import Brought, copy_brought
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.stages.figures import kernel_figure, learning_curve
from dwp_sweep.strict import StrictModel, unkeyed
from dwp_sweep.training.compute import ComputeConfig, resolve_device
from dwp_sweep.training.device_memory import memory_advice
from dwp_sweep.training.loop import FitResult, Learner, TrainConfig, fit, lower_val_loss
from dwp_sweep.training.seeds import named_generator, named_seed

PRIOR_FILES = ("prior.safetensors", "prior.json")
MIN_KERNELS = 20
N_ELBO_SAMPLES = 20


class PriorConfig(TrainConfig):
    """The kernel VAE and its training (Table 2).

    Attributes:
        latent_dim: Size of z.
        head: ``free``: log-variance with a floor; ``tanh``: both heads end in Tanh, as in the paper.
        log_var_floor: Of the free head, for standardised kernels.
        standardise: Divide kernels by the standard deviation of their group or of their layer.
        held_out: Share of the kernels kept for validation.
        batch_size: Kernels a step; 20 in the paper, which is hours on a CPU for a full bank.
        seed: Of start, order, noise and held-out choice.
        path: Folder with ``group1`` ... ``group7`` (each ``prior.safetensors`` and ``prior.json``) to
            use instead of fitting any; no MLflow run, since each of those holds one group.
    """

    latent_dim: int = Field(6, ge=1, le=27)
    head: Literal["free", "tanh"] = "free"
    log_var_floor: float = Field(-6.0, ge=-20, le=0)
    standardise: Literal["group", "layer"] = "group"
    held_out: float = Field(0.1, gt=0, lt=1)
    batch_size: int = Field(20, ge=1)
    patience: int = Field(15, ge=0)
    seed: int = Field(0, ge=0)
    path: str | None = unkeyed(None)


class PriorStageConfig(StrictModel):
    """All that one group's prior depends on beside the bank."""

    brought: Brought | None = None
    group: int = Field(ge=1, le=7)
    prior: PriorConfig = PriorConfig()
    compute: ComputeConfig = ComputeConfig()


def run(
    config: PriorStageConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    """Standardise, hold out, fit, compare with a Gaussian, draw."""
    if config.brought is not None:
        copy_brought(config.brought, PRIOR_FILES, out_dir)
        load_prior(out_dir)
        return {}
    with memory_advice("prior.batch_size", config.prior.batch_size):
        return _fit(config, inputs["bank"][0], work_dir, out_dir, emit)


def _fit(
    config: PriorStageConfig, bank: Path, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    settings = config.prior
    device = resolve_device(config.compute)
    group, kernels, scale, scales = _standardised(bank, config)
    train, held_out = _hold_out(group, settings)
    vae = _new_vae(settings)
    learner = _learner(vae.to(device), kernels[train].to(device), kernels[held_out].to(device), settings)
    result = fit(
        learner,
        settings,
        len(train),
        settings.seed,
        work_dir / "checkpoint.safetensors",
        lambda epoch, metrics: emit("prior", epoch, metrics),
    )
    prior = KernelPrior(config.group, vae.cpu().eval(), scales)
    save_prior(prior, out_dir)
    _draw(prior, kernels * scale, result, settings, out_dir)
    return _metrics(prior, kernels[train], kernels[held_out], scale[held_out], result, settings)


def _standardised(
    folder: Path, config: PriorStageConfig
) -> tuple[BankGroup, Tensor, Tensor, dict[str, float]]:
    """The group, its standardised kernels (n, 27), their scales (n, 1) and the scale of each layer."""
    bank = load_bank(folder)
    group = bank.groups[config.group]
    if len(group.kernels) < MIN_KERNELS:
        raise InputError(
            Problem(
                f"kernel group {config.group}",
                f"the bank holds {len(group.kernels)} kernels, a VAE needs at least {MIN_KERNELS}",
                "harvest more networks (source.n_seeds, n_cycles) or lower harvest.drop_below",
            )
        )
    scales = bank.scales(config.group, config.prior.standardise)
    scale = group.per_kernel(scales)
    return group, group.kernels / scale, scale, scales


def _hold_out(group: BankGroup, settings: PriorConfig) -> tuple[Tensor, Tensor]:
    """Indices of the kernels to learn from and of those held out.

    A place in the network is held out in all networks together: the next cycle of the learning rate leaves
    many kernels close to where they were, and a near-copy in training would flatter the held-out score.
    """
    places, place = torch.unique(torch.stack([group.layer, group.position]), dim=1, return_inverse=True)
    n_places = places.shape[1]
    order = torch.randperm(n_places, generator=named_generator(settings.seed, "held_out"))
    is_held_out = torch.zeros(n_places, dtype=torch.bool)
    is_held_out[order[: max(1, round(settings.held_out * n_places))]] = True
    return (~is_held_out[place]).nonzero().flatten(), is_held_out[place].nonzero().flatten()


def _new_vae(settings: PriorConfig) -> KernelVAE:
    # torch's default initialisation takes no generator: seed it here, and leave the global state alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(settings.seed, "init"))
        return KernelVAE(settings.latent_dim, settings.head, settings.log_var_floor)


def _learner(vae: KernelVAE, train: Tensor, held_out: Tensor, settings: PriorConfig) -> Learner:
    noise = named_generator(settings.seed, "noise", train.device)

    def batch_loss(indices: Tensor, step: int) -> dict[str, Tensor]:
        return {"loss": negative_elbo(train[indices], vae, noise).mean()}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        # The same draws every epoch: the plateau then sees the network change, not the noise.
        fixed = named_generator(settings.seed, "validation", train.device)
        return {"val_loss": float(negative_elbo(held_out, vae, fixed).mean())}

    return Learner(vae, [{"params": list(vae.parameters())}], batch_loss, validate, lower_val_loss, noise)


@torch.no_grad()
def _metrics(
    prior: KernelPrior,
    train: Tensor,
    held_out: Tensor,
    scale: Tensor,
    result: FitResult,
    settings: PriorConfig,
) -> dict[str, float]:
    """Held-out fit in nats per raw kernel: log-density of standardised kernels - 27 log(scale)."""
    generator = named_generator(settings.seed, "evaluation")
    draws = [-negative_elbo(held_out, prior.vae, generator) for _ in range(N_ELBO_SAMPLES)]
    elbo = float(torch.stack(draws).mean())
    jacobian = -27 * float(scale.log().mean())
    latent_kl = kl_from_standard(*prior.vae.encode(held_out))
    gaussian = {kind: gaussian_log_lik(train, held_out, kind) for kind in ("diagonal", "full")}
    return {
        "best_epoch": float(result.best_epoch),
        "best_val_loss": result.best["val_loss"],
        "n_kernels": float(len(train) + len(held_out)),
        "held_out_elbo_nats": elbo + jacobian,
        "gain_over_diagonal_gaussian_nats": elbo - gaussian["diagonal"],
        "gain_over_full_gaussian_nats": elbo - gaussian["full"],
        "latent_kl_nats": float(latent_kl.mean()),
        "n_steps": float(result.n_steps),
    }


def _draw(
    prior: KernelPrior, kernels: Tensor, result: FitResult, settings: PriorConfig, out_dir: Path
) -> None:
    generator = named_generator(settings.seed, "figure")
    chosen = kernels[torch.randperm(len(kernels), generator=generator)[:24]]
    samples = prior.sample(len(chosen), generator)
    figures = out_dir / "figures"
    kernel_figure(chosen, samples, figures / "kernels_and_samples.png", f"Kernel group {prior.group}")
    learning_curve(
        result.history,
        figures / "learning_curve.png",
        f"Kernel prior, group {prior.group}",
        [result.best_epoch],
        "Negative ELBO, nats per standardised kernel",
    )


stage = Stage(
    name="prior", version=1, config=PriorStageConfig, run=run, n_steps=lambda config: config.prior.max_epochs
)
