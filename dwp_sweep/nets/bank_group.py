"""The kernels of one group of a kernel bank: where each came from, and the scale of its filter.

A filter is one output channel of one network's layer: all its kernels end in one sum, whose size an
InstanceNorm takes out wherever one follows. Part of `KernelBank`; knows neither files nor networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

Channels = Mapping[str, tuple[int, int]]
"""By layer name, its numbers of input and output channels."""


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
    found = {}
    for place, name in enumerate(held.layers):
        here = held.layer == place
        filters, first = torch.unique(_filters(held)[:, here], dim=1, return_inverse=True)
        by_filter = torch.zeros(filters.shape[1]).index_copy_(0, first, scales[here])
        found[name] = float(by_filter.median()) if by_filter.numel() and bool((by_filter > 0).all()) else 0.0
    return found


def _filters(held: BankGroup) -> Tensor:
    """What tells filters apart, ``(3, n)``: layer, network and output channel of each kernel."""
    if missing := [name for name in held.layers if name not in held.channels]:
        raise ValueError(
            f"standardise: filter needs the channel numbers of {', '.join(missing)}, which this kernel bank "
            f"does not hold: it was written before they were kept; harvest again, or use layer or group"
        )
    in_channels = torch.tensor([held.channels[name][0] for name in held.layers])[held.layer]
    return torch.stack([held.layer, held.member, held.position // in_channels])
