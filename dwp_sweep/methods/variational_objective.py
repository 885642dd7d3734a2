"""The objective of a variational network: data term plus the weighted divergence from a prior (Section 2.2).

Per step ``mean over the batch of the per-image loss + (kl_weight / N) * divergence``, N training images.
What the divergence is, exact or a bound, the method's own file says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from dwp_sweep.losses.kernel_bound import prior_cost
from dwp_sweep.losses.segmentation import segmentation_loss
from dwp_sweep.methods.contract import MethodInputs, TrainingSetup
from dwp_sweep.methods.variational import (
    KernelGroup,
    PosteriorConfig,
    posterior_metrics,
    posterior_param_groups,
)
from dwp_sweep.nets.kernel_prior import KernelPrior
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.training.compute import named_generator

Divergence = Callable[[], Mapping[int, Tensor]]
"""By group number: nats over the group's kernels, with graph. Follows a forward pass in training mode."""


class DivergenceConfig(PosteriorConfig):
    """A posterior that a prior pulls.

    Attributes:
        kl_weight: Weight of the divergence; 1 is exact Bayes with ``likelihood: ce``, a tempering that
            must be searched with the Dice mixture.
        kl_annealing_steps: Steps over which the weight rises linearly from 0.
    """

    kl_weight: float = Field(1e-5, ge=0)
    kl_annealing_steps: int = Field(100, ge=0)


def annealing(step: int, n_steps: int) -> float:
    """Linear warm-up of a divergence's weight: 0 in step 0, 1 from step ``n_steps`` on."""
    return min(1.0, step / n_steps) if n_steps else 1.0


def prepare_unpulled(
    net: UNet3D,
    groups: Sequence[KernelGroup],
    config: PosteriorConfig,
    inputs: MethodInputs,
    noise: torch.Generator,
) -> TrainingSetup:
    """Minimise the data term alone under weight noise."""
    likelihood = config.data_loss(inputs.loss)

    def data_loss(logits: Tensor, masks: Tensor) -> Tensor:
        return segmentation_loss(logits, masks, likelihood).loss

    return TrainingSetup(
        net=net,
        state=net,
        param_groups=posterior_param_groups(groups, inputs, net),
        batch_loss=lambda logits, masks, step: {"loss": data_loss(logits, masks)},
        data_loss=data_loss,
        noise=noise,
        diagnostics=lambda: posterior_metrics(groups),
    )


def prepare_pulled(
    net: UNet3D,
    groups: Sequence[KernelGroup],
    config: DivergenceConfig,
    inputs: MethodInputs,
    noise: torch.Generator,
    divergence: Divergence,
) -> TrainingSetup:
    """Minimise the data term plus the weighted divergence.

    Args:
        net: With its posterior (`make_posterior`).
        groups: Of the posterior.
        config: Of the method.
        inputs: Of the method.
        noise: Source of the posterior's noise.
        divergence: What pulls it.
    """
    unpulled = prepare_unpulled(net, groups, config, inputs, noise)

    def batch_loss(logits: Tensor, masks: Tensor, step: int) -> dict[str, Tensor]:
        nats = divergence()
        # Groups first: where the loss is not finite, the first bad term named is the one to blame.
        terms = {f"bound_per_kernel_group{g.number}": nats[g.number] / len(g.scale) for g in groups}
        bound, data = torch.stack(list(nats.values())).sum(), unpulled.data_loss(logits, masks)
        weight = config.kl_weight / inputs.n_train * annealing(step, config.kl_annealing_steps)
        return terms | {"data_loss": data, "bound": bound, "loss": data + weight * bound}

    return unpulled._replace(batch_loss=batch_loss)


N_WATCHED = 256
"""Kernels of each group that are looked at after every epoch: a standard error of at most 0.03."""
N_DRAWS = 512
RARE = 0.95


class LeftPrior:
    """Watches a random part of each group's kernels, the same in all epochs.

    Args:
        groups: Of the posterior.
        priors: By group number, on the device.
        seed: Of the choice and of all draws.
        device: Of the network.
    """

    def __init__(
        self,
        groups: Sequence[KernelGroup],
        priors: Mapping[int, KernelPrior],
        seed: int,
        device: torch.device,
    ) -> None:
        self.groups, self.priors, self.seed, self.device = groups, priors, seed, device
        choice = named_generator(seed, "watched", device)
        self.watched = {
            group.number: torch.randperm(len(group.scale), generator=choice, device=device)[:N_WATCHED]
            for group in groups
        }
        # By the encoders as they were fitted: a training that is resumed must find the same limits.
        self.limit = {group.number: self._limit(group.number) for group in groups}

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """``left_prior_group<g>`` for each group, now."""
        return {f"left_prior_group{group.number}": self._share(group) for group in self.groups}

    @torch.no_grad()
    def _limit(self, number: int) -> Tensor:
        generator = named_generator(self.seed, "draws", self.device)
        draws = self.priors[number].sample_standardised(N_DRAWS, generator)
        return self._surprise(number, draws).quantile(RARE)

    def _share(self, group: KernelGroup) -> float:
        chosen = self.watched[group.number]
        surprise = self._surprise(group.number, group.mean()[chosen] / group.scale[chosen])
        return float((surprise > self.limit[group.number]).float().mean())

    def _surprise(self, number: int, kernels: Tensor) -> Tensor:
        """``-log p``, or its bound, in nats ``(n,)`` of standardised kernels ``(n, 27)``."""
        generator = named_generator(self.seed, "surprise", self.device)
        return prior_cost(kernels, self.priors[number].model, generator)
