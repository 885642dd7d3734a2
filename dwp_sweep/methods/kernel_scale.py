"""What one unit of a standardised kernel is in the raw weights of a target network.

Priors speak of standardised kernels. The target's kernels need not have the scale of the source
networks': a He start is larger than kernels that weight decay has shrunk, and rescaled filters are as
well. So the unit is measured on the network that starts, and follows its filters when they are rescaled.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dwp_sweep.nets.kernel_bank import Standardise
from dwp_sweep.nets.kernel_groups import KernelLayer, as_kernels, kernel_layers, kernel_weight
from dwp_sweep.nets.scale_invariance import rescale_invariant

Scales = Mapping[str, Tensor]
"""By layer name, ``(n, 1)``: raw weight of one standardised unit for each kernel of the layer."""

SMALLEST_SHARE_OF_HE = 1e-3
"""Units below this share of the He deviation are raised to it: dead filters would divide by nothing."""


def he_std(net: nn.Module, layer: KernelLayer) -> float:
    """Standard deviation of a layer's weights at a He start: ``sqrt(2 / (27 * in_channels))``."""
    weight = kernel_weight(net.get_submodule(layer.name))
    return float((2 / weight[0].numel()) ** 0.5)


@torch.no_grad()
def measured_scales(net: nn.Module, standardise: Standardise) -> dict[str, Tensor]:
    """Root mean square of the weights of each kernel's group, layer or filter in this network."""
    layers = kernel_layers(net)
    mean_squares = {layer.name: _mean_squares(net, layer, standardise) for layer in layers}
    if standardise == "group":
        mean_squares = _pooled(layers, mean_squares)
    return {
        layer.name: mean_squares[layer.name].sqrt().clamp_min(SMALLEST_SHARE_OF_HE * he_std(net, layer))
        for layer in layers
    }


def constant_scales(net: nn.Module, scale: Mapping[str, float]) -> dict[str, Tensor]:
    """The same unit for all kernels of a layer.

    Args:
        net: Whose kernels are counted.
        scale: By layer name; every 3x3x3 convolution is there.
    """
    return {layer.name: torch.full((layer.n_kernels, 1), scale[layer.name]) for layer in kernel_layers(net)}


@torch.no_grad()
def rescale_with_scales(net: nn.Module, scales: Scales) -> dict[str, Tensor]:
    """Bring scale-invariant filters to He norm (in place) and let the units follow.

    Standardised kernels stay what they were, so a prior fitted before the rescaling still holds.
    """
    before = _filter_norms(net)
    rescale_invariant(net)
    after = _filter_norms(net)
    factors = {name: torch.where(norm > 0, after[name] / norm, 1.0) for name, norm in before.items()}
    return {
        name: unit * factors[name].repeat_interleave(len(unit) // len(factors[name])).unsqueeze(1)
        for name, unit in scales.items()
    }


def _mean_squares(net: nn.Module, layer: KernelLayer, standardise: Standardise) -> Tensor:
    weight = kernel_weight(net.get_submodule(layer.name))
    squares = as_kernels(weight).square().mean(dim=1)
    if standardise == "filter":
        per_filter = squares.view(len(weight), -1)
        return per_filter.mean(dim=1, keepdim=True).expand_as(per_filter).reshape(-1, 1).clone()
    return squares.mean().expand(layer.n_kernels, 1).clone()


def _pooled(layers: tuple[KernelLayer, ...], mean_squares: Scales) -> dict[str, Tensor]:
    pooled: dict[str, Tensor] = {}
    for group in {layer.group for layer in layers}:
        names = [layer.name for layer in layers if layer.group == group]
        mean = torch.cat([mean_squares[name] for name in names]).mean()
        pooled |= {name: mean.expand_as(mean_squares[name]).clone() for name in names}
    return pooled


def _filter_norms(net: nn.Module) -> dict[str, Tensor]:
    return {
        layer.name: kernel_weight(net.get_submodule(layer.name)).flatten(1).norm(dim=1)
        for layer in kernel_layers(net)
    }
