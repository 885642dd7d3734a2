"""Rescaling of filters that the network's function does not see.

The output of ``conv_1`` in each of the nine blocks goes only into an InstanceNorm, so the scale of its
filters changes nothing, yet weight decay shrinks them and Adam's step is then large against them. A
source network may hence be brought back to the norm of a He start before it is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dwp_sweep.nets.bayes_conv import BayesConv3d
from dwp_sweep.nets.kernel_groups import kernel_layers, kernel_weight

SMALLEST_NORM = 0.03
"""Filters below this keep their scale: InstanceNorm's epsilon (1e-5) then damps their output, so the
function does see their scale; growing such a filter would wake what weight decay has switched off."""


@dataclass(frozen=True)
class Rescaled:
    """How many filters were brought to He norm and how many were too small to be."""

    n_rescaled: int
    n_left: int


def rescale_invariant(net: nn.Module, smallest_norm: float = SMALLEST_NORM) -> Rescaled:
    """Bring each filter of the scale-invariant layers to the norm of a He start, in place.

    The expected squared norm of a He filter of any size is 2. The function of the network stays the same
    up to InstanceNorm's epsilon: relative change of a filter's output about ``1e-5 / norm ** 2``.

    Args:
        net: A `UNet3D`; of variational layers, mean and variance are rescaled together.
        smallest_norm: Filters with a norm below this are left as they are.

    Returns:
        Counts of filters.
    """
    n_rescaled = n_left = 0
    for layer in kernel_layers(net):
        if not layer.name.endswith(".conv_1"):
            continue
        kept = _rescale(net.get_submodule(layer.name), smallest_norm)
        n_rescaled += int(kept.sum())
        n_left += int((~kept).sum())
    return Rescaled(n_rescaled, n_left)


@torch.no_grad()
def _rescale(conv: nn.Module, smallest_norm: float) -> Tensor:
    weight = kernel_weight(conv)
    norm: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    large: Tensor = norm >= smallest_norm
    factor = torch.where(large, 2**0.5 / norm.clamp_min(smallest_norm), 1.0).view(-1, 1, 1, 1, 1)
    weight.mul_(factor)
    if isinstance(conv, BayesConv3d):
        conv.log_var.add_(2 * factor.log())
    return large
