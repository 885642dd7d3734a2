"""The objective of a variational network: data term plus the weighted divergence from a prior (Section 2.2).

Per step ``mean over the batch of the per-image loss + (kl_weight / N) * divergence``, N training images.
What the divergence is, exact or a bound, the method's own file says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from dwp_sweep.losses.segmentation import segmentation_loss
from dwp_sweep.methods.contract import MethodInputs, TrainingSetup
from dwp_sweep.methods.variational import (
    KernelGroup,
    PosteriorConfig,
    posterior_metrics,
    posterior_param_groups,
)
from dwp_sweep.nets.unet3d import UNet3D

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
