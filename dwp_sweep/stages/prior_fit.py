"""The prior of a kernel group: its settings, and the fit of a VAE or a mixture to its kernels (Table 2).

The middle of the prior stage, which standardises before and scores afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from dwp_sweep.losses.kernel_bound import negative_elbo
from dwp_sweep.losses.vae_loss import vae_loss
from dwp_sweep.nets.kernel_bank import Standardise
from dwp_sweep.nets.kernel_mixture import KernelMixture
from dwp_sweep.nets.kernel_vae import Head, KernelVAE
from dwp_sweep.stages.contract import Emit
from dwp_sweep.stages.mixture_fit import SHRINKAGE, fit_mixture
from dwp_sweep.strict import expert, unkeyed
from dwp_sweep.training.compute import named_generator, named_seed
from dwp_sweep.training.loop import FitResult, Learner, TrainConfig, fit, lower_val_loss


class PriorConfig(TrainConfig):
    """The prior of a kernel group and its training (Table 2).

    Attributes:
        kind: ``vae``, as in the paper, or ``mixture``: of full-covariance Gaussians, fitted once; its
            density is exact, and nothing of it learns beside the target network.
        n_components: Of the mixture.
        shrinkage: Of the mixture: how many kernels the shape common to all weighs in each component.
        latent_dim: Size of z.
        head: ``free``: log-variance with a floor; ``tanh``: both heads end in Tanh, as in the paper.
        log_var_floor: Of the free head, for standardised kernels; its exponential is added to each
            variance of a mixture.
        standardise: Divide kernels by the root mean square of their layer, their group or their filter
            (one output channel of one network's layer), or by nothing (``none``, as in the paper). A prior
            of layers fits a network of any size in each layer (``dwp.scale: start``).
        kl_warmup_epochs: Epochs over which the latent divergence's weight rises linearly from 0 to 1. The
            plateau and the choice of the epoch begin after them.
        free_bits: Nats of each latent dimension's divergence that cost nothing in training.
        held_out: Share of the kernels kept for validation.
        batch_size: Kernels a step; 20 in the paper, which is hours on a CPU for a full bank.
        seed: Of start, order, noise and held-out choice.
        path: Folder with ``group1`` ... ``group7`` (each ``prior.safetensors`` and ``prior.json``) to
            use instead of fitting any; no MLflow run, since each of those holds one group.
    """

    kind: Literal["vae", "mixture"] = "vae"
    n_components: int = Field(8, ge=1, le=64)
    shrinkage: float = expert(SHRINKAGE, ge=0)
    latent_dim: int = Field(6, ge=1, le=27)
    head: Head = "free"
    log_var_floor: float = expert(-6.0, ge=-20, le=0)
    standardise: Standardise = "layer"
    kl_warmup_epochs: int = Field(0, ge=0)
    free_bits: float = expert(0.0, ge=0)
    held_out: float = expert(0.1, gt=0, lt=1)
    batch_size: int = Field(20, ge=1)
    patience: int = Field(15, ge=0)
    seed: int = Field(0, ge=0)
    path: str | None = unkeyed(None)

    def unread(self) -> frozenset[str]:
        """What only the other kind of prior reads; a mixture is fitted once, without training."""
        if self.kind == "vae":
            return frozenset({"n_components", "shrinkage"})
        own = {"kind", "n_components", "shrinkage", "log_var_floor", "standardise", "held_out", "seed"}
        return frozenset(type(self).model_fields) - own

    @model_validator(mode="after")
    def _trains_after_warm_up(self) -> PriorConfig:
        if self.kl_warmup_epochs >= self.max_epochs:
            raise ValueError(
                f"kl_warmup_epochs {self.kl_warmup_epochs} must be below max_epochs {self.max_epochs}: the "
                f"epoch is chosen from those after the warm-up"
            )
        return self


class FittedModel(NamedTuple):
    """The model in evaluation mode, on the CPU, and how its training ended."""

    model: KernelVAE | KernelMixture
    result: FitResult


def fit_model(
    settings: PriorConfig,
    train: Tensor,
    held_out: Tensor,
    device: torch.device,
    work_dir: Path,
    emit: Emit,
) -> FittedModel:
    """Fit what ``settings.kind`` names to standardised kernels.

    Args:
        settings: Of the prior.
        train: Kernels to learn from ``(n, 27)``.
        held_out: Kernels that the plateau and the choice of the epoch watch ``(m, 27)``.
        device: Where a VAE trains; a mixture is fitted on the CPU.
        work_dir: For checkpoints.
        emit: Called with the metrics of every epoch; a mixture has one.
    """
    if settings.kind == "mixture":
        return _fit_mixture(settings, train, held_out, emit)
    # torch's default initialisation takes no generator: seed it here, and leave the global state alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(settings.seed, "init"))
        vae = KernelVAE(settings.latent_dim, settings.head, settings.log_var_floor).to(device)
    noise = named_generator(settings.seed, "noise", device)
    result = _VaeFit(vae, train.to(device), held_out.to(device), settings, noise, work_dir, emit).run()
    return FittedModel(vae.cpu().eval(), result)


def _fit_mixture(settings: PriorConfig, train: Tensor, held_out: Tensor, emit: Emit) -> FittedModel:
    seed = named_seed(settings.seed, "mixture")
    floor = math.exp(settings.log_var_floor)
    mixture = fit_mixture(train, settings.n_components, seed, floor, settings.shrinkage).eval()
    metrics = {
        "train_loss": -float(mixture.log_density(train).mean()),
        "val_loss": -float(mixture.log_density(held_out).mean()),
    }
    emit("prior", 1, metrics)
    return FittedModel(mixture, FitResult(1, metrics, (metrics,), 1))


@dataclass(frozen=True)
class _VaeFit:
    """A VAE, its kernels on its device, and the generator of its noise: what warm-up and training share."""

    vae: KernelVAE
    train: Tensor
    held_out: Tensor
    settings: PriorConfig
    noise: torch.Generator
    work_dir: Path
    emit: Emit

    def run(self) -> FitResult:
        """Warm up, then train; epochs are counted over both."""
        warmed = self._warm_up()
        n_before = len(warmed.history)
        result = fit(
            self._learner(),
            self.settings.model_copy(update={"max_epochs": self.settings.max_epochs - n_before}),
            len(self.train),
            self.settings.seed,
            self.work_dir / "checkpoint.safetensors",
            lambda epoch, metrics: self.emit("prior", n_before + epoch, metrics),
        )
        history = warmed.history + result.history
        return FitResult(n_before + result.best_epoch, result.best, history, warmed.n_steps + result.n_steps)

    def _warm_up(self) -> FitResult:
        """Train while the divergence's weight rises: no plateau, and the last epoch is kept.

        A training of its own, since what is minimised here is not what validation measures: an epoch of it
        must neither be chosen nor make the rate fall.
        """
        settings, n_epochs = self.settings, self.settings.kl_warmup_epochs
        if not n_epochs:
            return FitResult(0, {}, (), 0)
        steps_per_epoch = settings.length(len(self.train)).steps_per_epoch
        return fit(
            self._learner(n_epochs * steps_per_epoch)._replace(better=lambda new, best: True),
            settings.model_copy(update={"max_epochs": n_epochs, "patience": n_epochs}),
            len(self.train),
            named_seed(settings.seed, "warm_up"),
            self.work_dir / "warm_up.safetensors",
            lambda epoch, metrics: self.emit("prior", epoch, metrics),
        )

    def _learner(self, n_warm_up_steps: int = 0) -> Learner:
        def batch_loss(indices: Tensor, step: int) -> dict[str, Tensor]:
            kl_scale = step / n_warm_up_steps if n_warm_up_steps else 1.0
            loss = vae_loss(self.train[indices], self.vae, self.noise, kl_scale, self.settings.free_bits)
            return {"loss": loss}

        @torch.no_grad()
        def validate() -> dict[str, float]:
            # The same draws every epoch: the plateau then sees the network change, not the noise.
            fixed = named_generator(self.settings.seed, "validation", self.train.device)
            return {"val_loss": float(negative_elbo(self.held_out, self.vae, fixed).mean())}

        groups = [{"params": list(self.vae.parameters())}]
        return Learner(self.vae, groups, batch_loss, validate, lower_val_loss, self.noise)
