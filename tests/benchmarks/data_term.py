"""A batch, the data term's loss on it, and how much the gradient of the posterior's means varies.

The batch is a stand-in: noise with a bright ball, which is the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dwp_sweep.bench.frame import Setting
from dwp_sweep.losses.segmentation import LossConfig, segmentation_loss
from dwp_sweep.nets.bayes_conv import BayesConv3d


class StandInBatch(NamedTuple):
    """Volumes ``(B, 1, D, H, W)`` and their masks ``(B, D, H, W)``."""

    volumes: Tensor
    masks: Tensor


def stand_in_batch(setting: Setting, edge: int = 48, size: int = 2) -> StandInBatch:
    """``size`` cubic volumes; 16 voxels an edge at the tiny scale."""
    edge = 16 if setting.quick else edge
    generator = torch.Generator().manual_seed(setting.seed)
    axis = torch.linspace(-1, 1, edge)
    ball = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 0.2
    volumes = torch.randn(size, 1, edge, edge, edge, generator=generator) + 1.5 * ball
    masks = ball.to(torch.uint8).expand(size, edge, edge, edge)
    return StandInBatch(volumes.to(setting.device), masks.to(setting.device))


def data_loss(net: nn.Module, batch: StandInBatch) -> Tensor:
    """The default segmentation loss of a batch."""
    return segmentation_loss(net(batch.volumes), batch.masks, LossConfig()).loss


class GradientNoise(NamedTuple):
    """Of the gradient with respect to all means, summed over the weights.

    Attributes:
        variance: Sum of the variances of all components.
        squared_mean: Squared norm of the mean gradient, free of what the variance adds to it.
    """

    variance: float
    squared_mean: float


def gradient_noise(
    net: nn.Module, layers: Sequence[BayesConv3d], batch: StandInBatch, n_draws: int
) -> GradientNoise:
    """How much the data term's gradient varies between draws of the noise on one batch."""
    means = [layer.mean for layer in layers]
    net.train()
    draws = torch.stack([_flat(torch.autograd.grad(data_loss(net, batch), means)) for _ in range(n_draws)])
    variance = float(draws.var(dim=0).sum())
    return GradientNoise(variance, float(draws.mean(dim=0).square().sum()) - variance / n_draws)


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])
