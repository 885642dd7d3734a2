"""Which kernel belongs to which of the seven priors, and the harvested kernels of one of these groups.

Each (input channel, output channel) pair of a 3x3x3 convolution is one kernel of 27 numbers, in the order
depth, height, width. Layers of one resolution share a prior; encoder and decoder are apart, which gives
seven groups. Harvest reads kernels through this map, the deep weight prior its layers.
Source: Section 2.7.2 of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from dwp_sweep.nets.bayes_conv import BayesConv3d

KERNEL_VOXELS = 27

LAYERS_OF_GROUP: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        1: ("init_conv", "down1.conv_1"),
        2: ("down1.conv_2", "down2.conv_1", "down2.conv_2", "down3.conv_1"),
        3: ("down3.conv_2", "down4.conv_1", "down4.conv_2", "down5.conv_1"),
        4: ("down5.conv_2", "down6.conv_1", "down6.conv_2"),
        5: ("up1.conv_1", "up1.conv_2"),
        6: ("up2.conv_1", "up2.conv_2"),
        7: ("up3.conv_1", "up3.conv_2"),
    }
)
"""The convolutions of each group by their dotted names in `UNet3D`."""

GROUPS: tuple[int, ...] = tuple(LAYERS_OF_GROUP)

_GROUP_OF = {name: group for group, names in LAYERS_OF_GROUP.items() for name in names}

Channels = Mapping[str, tuple[int, int]]
"""By layer name, its numbers of input and output channels."""


@dataclass(frozen=True)
class KernelLayer:
    """A 3x3x3 convolution and its group.

    Attributes:
        name: Dotted name in the network; ``net.get_submodule(name)`` is the convolution.
        group: 1 to 7.
        n_kernels: Input channels times output channels.
    """

    name: str
    group: int
    n_kernels: int


@dataclass(frozen=True)
class BankGroup:
    """The kernels of one group.

    Attributes:
        kernels: Raw kernels, float32 ``(n, 27)``.
        layer: For each kernel, the place of its layer in `layers`; int64 ``(n,)``.
        member: For each kernel, the place of its network in the bank's `members`; int64 ``(n,)``.
        position: For each kernel, its place ``out * in_channels + in`` within its layer, the same in all
            networks; int64 ``(n,)``.
        layers: Layer names.
        channels: Of each layer; empty in banks written before they were kept.
    """

    kernels: Tensor
    layer: Tensor
    member: Tensor
    position: Tensor
    layers: tuple[str, ...]
    channels: Channels = field(default_factory=dict)

    def take(self, chosen: Tensor) -> BankGroup:
        """The group with some of its kernels: indices, or a mask ``(n,)``."""
        return replace(
            self,
            kernels=self.kernels[chosen],
            layer=self.layer[chosen],
            member=self.member[chosen],
            position=self.position[chosen],
        )

    def per_kernel(self, scales: Mapping[str, float]) -> Tensor:
        """The scale of each kernel's layer, ``(n, 1)``: kernels over it are standardised.

        Args:
            scales: By layer name, from `KernelBank.scales`.
        """
        return torch.tensor([scales[name] for name in self.layers])[self.layer].unsqueeze(1)


def kernel_layers(net: nn.Module) -> tuple[KernelLayer, ...]:
    """Every 3x3x3 convolution of a network, plain or variational, with its group, in the network's order.

    Raises:
        ValueError: If a 3x3x3 convolution belongs to no group; names it.
    """
    layers = []
    for name, module in net.named_modules():
        if not isinstance(module, nn.Conv3d | BayesConv3d) or tuple(module.kernel_size) != (3, 3, 3):
            continue
        if name not in _GROUP_OF:
            raise ValueError(
                f"the 3x3x3 convolution {name!r} belongs to no kernel group; add it to LAYERS_OF_GROUP"
            )
        weight = kernel_weight(module)
        layers.append(KernelLayer(name, _GROUP_OF[name], weight.shape[0] * weight.shape[1]))
    return tuple(layers)


def extract_kernels(net: nn.Module, group: int) -> list[tuple[str, Tensor]]:
    """The kernels of one group, layer by layer.

    Args:
        net: A network that `kernel_layers` accepts.
        group: 1 to 7.

    Returns:
        Pairs of layer name and kernels ``(n, 27)``: views of the weights (of a variational layer: of
        its mean) without graph; kernel ``o * in_channels + i`` joins input ``i`` to output ``o``.

    Raises:
        ValueError: If there is no such group, or a convolution belongs to none.
    """
    if group not in LAYERS_OF_GROUP:
        raise ValueError(f"kernel group must be one of {list(GROUPS)}, not {group}")
    return [
        (layer.name, as_kernels(kernel_weight(net.get_submodule(layer.name)).detach()))
        for layer in kernel_layers(net)
        if layer.group == group
    ]


def as_kernels(weight: Tensor) -> Tensor:
    """Convolution weights ``(out, in, 3, 3, 3)`` as kernels ``(out * in, 27)``, graph kept."""
    return weight.reshape(-1, KERNEL_VOXELS)


def kernel_weight(conv: nn.Module) -> Tensor:
    """The weights of a convolution: of a variational one, the mean."""
    weight = conv.mean if isinstance(conv, BayesConv3d) else conv.weight
    assert isinstance(weight, Tensor)
    return weight


def read_channels(values: Mapping[str, Any]) -> Channels:
    """Channels as JSON holds them.

    Raises:
        ValueError, TypeError, AttributeError: If they are no pairs of whole numbers by name.
    """
    return {name: (int(n_in), int(n_out)) for name, (n_in, n_out) in values.items()}


def filter_scales(held: BankGroup) -> Tensor:
    """Root mean square of each kernel's filter over those of its kernels that are held, ``(n,)``.

    Raises:
        ValueError: If the channels of a layer are not known.
    """
    filters, place = torch.unique(_filters(held), dim=1, return_inverse=True)
    n_kernels = torch.zeros(filters.shape[1], dtype=torch.float64)
    n_kernels.index_add_(0, place, torch.ones(len(place), dtype=torch.float64))
    square = torch.zeros_like(n_kernels).index_add_(0, place, held.kernels.double().square().mean(dim=1))
    return (square / n_kernels).sqrt()[place].float()


def median_filter_scales(held: BankGroup) -> dict[str, float]:
    """By layer, the median over its filters of their scale; 0 where one has kernels of zeros only.

    Raises:
        ValueError: If the channels of a layer are not known.
    """
    scales = filter_scales(held)
    medians = {}
    for place, name in enumerate(held.layers):
        here = held.layer == place
        filters, first = torch.unique(_filters(held)[:, here], dim=1, return_inverse=True)
        by_filter = torch.zeros(filters.shape[1]).index_copy_(0, first, scales[here])
        medians[name] = (
            float(by_filter.median()) if by_filter.numel() and bool((by_filter > 0).all()) else 0.0
        )
    return medians


def _filters(held: BankGroup) -> Tensor:
    """What tells filters apart, ``(3, n)``: layer, network and output channel of each kernel."""
    if missing := [name for name in held.layers if name not in held.channels]:
        raise ValueError(
            f"standardise: filter needs the channel numbers of {', '.join(missing)}, which this kernel bank "
            f"does not hold: it was written before they were kept; harvest again, or use layer or group"
        )
    in_channels = torch.tensor([held.channels[name][0] for name in held.layers])[held.layer]
    return torch.stack([held.layer, held.member, held.position // in_channels])
