"""Settings of the kernel priors: which model, over which standardised kernels, trained how (Table 2).

A component of its own so that sweeps, the prior stage and its fitting read one description.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dwp_sweep.nets.kernel_bank import Standardise
from dwp_sweep.nets.kernel_vae import Head
from dwp_sweep.stages.mixture_fit import SHRINKAGE
from dwp_sweep.strict import unkeyed
from dwp_sweep.training.loop import TrainConfig


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
        standardise: Divide kernels by the root mean square of their group, their layer or their filter
            (one output channel of one network's layer).
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
    shrinkage: float = Field(SHRINKAGE, ge=0)
    latent_dim: int = Field(6, ge=1, le=27)
    head: Head = "free"
    log_var_floor: float = Field(-6.0, ge=-20, le=0)
    standardise: Standardise = "group"
    kl_warmup_epochs: int = Field(0, ge=0)
    free_bits: float = Field(0.0, ge=0)
    held_out: float = Field(0.1, gt=0, lt=1)
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
