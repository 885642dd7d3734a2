"""The kernel bank: every 3x3x3 kernel of every source network, by group.

Made by the harvest stage from the members (seed, cycle) of source training; the seven priors learn from it.
Kernels are stored raw; how they are standardised is decided by whoever learns from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dwp_sweep.nets.kernel_groups import (
    GROUPS,
    KERNEL_VOXELS,
    BankGroup,
    Channels,
    extract_kernels,
    filter_scales,
    kernel_layers,
    kernel_weight,
    median_filter_scales,
    read_channels,
)
from dwp_sweep.nets.net_files import fact, read_facts, read_tensors, write_tensors

STEM = "bank"

Member = tuple[int, int]
"""Seed and cycle of a source network."""

Standardise = Literal["none", "group", "layer", "filter"]
"""Whose root mean square a kernel is divided by. A filter is one output channel of one network's layer."""


@dataclass(frozen=True)
class KernelBank:
    """Kernels of several networks.

    Attributes:
        members: Seed and cycle of each network.
        groups: By group number.
        dropped: By group, how many kernels were left out (`drop_tiny`); empty where that is not known.
    """

    members: tuple[Member, ...]
    groups: Mapping[int, BankGroup]
    dropped: Mapping[int, int] = field(default_factory=dict)

    def scales(self, group: int, standardise: Standardise) -> dict[str, float]:
        """Scale of each layer of a group: root mean square of its kernels' voxels.

        The mean is not taken off first: standardised kernels are raw kernels over the scale, no more.

        Args:
            group: 1 to 7.
            standardise: ``none`` gives all layers the scale 1, ``group`` that of the whole group, ``filter``
                each layer the median scale of its filters: what a sample gets that belongs to no filter yet.

        Raises:
            ValueError: If a layer has no kernel that differs from zero, or ``filter`` is asked of a bank
                that does not know its layers' channels.
        """
        held = self.groups[group]
        if standardise == "none":
            return dict.fromkeys(held.layers, 1.0)
        if standardise == "group":
            scales = dict.fromkeys(held.layers, _root_mean_square(held.kernels))
        elif standardise == "layer":
            scales = {name: _root_mean_square(held.kernels[held.layer == place])
                     for place, name in enumerate(held.layers)}  # fmt: skip
        else:
            scales = median_filter_scales(held)
        dead = [name for name, scale in scales.items() if not 0 < scale < float("inf")]
        if dead:
            raise ValueError(f"no scale for {', '.join(dead)} in kernel group {group}: all kernels are zero")
        return scales

    def kernel_scales(self, group: int, standardise: Standardise) -> Tensor:
        """Scale of each kernel of a group, ``(n, 1)``: kernels over it are standardised.

        Args:
            group: 1 to 7.
            standardise: With ``filter`` the scale is that of the kernel's own filter, over those of its
                kernels that are in the bank.

        Raises:
            ValueError: As `scales`.
        """
        by_layer = self.scales(group, standardise)
        held = self.groups[group]
        return filter_scales(held).unsqueeze(1) if standardise == "filter" else held.per_kernel(by_layer)

    def counts(self) -> dict[int, int]:
        """Number of kernels by group."""
        return {group: len(held.kernels) for group, held in self.groups.items()}


def collect_bank(nets: Mapping[Member, nn.Module]) -> KernelBank:
    """Harvest all kernels of some networks of one shape.

    Args:
        nets: By seed and cycle.

    Raises:
        ValueError: If there is no network, or the layers of two differ in width.
    """
    if not nets:
        raise ValueError("a kernel bank needs at least one network")
    _require_one_shape(nets)
    groups = {group: _collect(list(nets.values()), group) for group in GROUPS}
    return KernelBank(tuple(nets), groups)


def drop_tiny(bank: KernelBank, relative_norm: float = 1e-2) -> tuple[KernelBank, dict[int, int]]:
    """Leave out kernels that are next to nothing beside the others of their layer.

    Args:
        bank: As harvested.
        relative_norm: Kernels whose norm is at most this part of the median norm of their layer (over
            all members) are dropped. Relative, because with weight decay whole layers are tiny.

    Returns:
        The smaller bank and the number of kernels dropped, by group.
    """
    groups = {group: held.take(_large(held, relative_norm)) for group, held in bank.groups.items()}
    dropped = {group: len(bank.groups[group].kernels) - len(held.kernels) for group, held in groups.items()}
    return replace(bank, groups=groups, dropped=dropped), dropped


def save_bank(bank: KernelBank, folder: Path) -> None:
    """Write ``bank.safetensors`` and ``bank.json`` into a folder, which is made if missing."""
    tensors = {}
    for group, held in bank.groups.items():
        tensors[f"group{group}.kernels"] = held.kernels
        tensors[f"group{group}.layer"] = held.layer
        tensors[f"group{group}.member"] = held.member
        tensors[f"group{group}.position"] = held.position
    facts = {
        "format": 1,
        "members": [list(member) for member in bank.members],
        "layers": {str(group): list(held.layers) for group, held in bank.groups.items()},
        "channels": {str(group): dict(held.channels) for group, held in bank.groups.items()},
        "counts": {str(group): n for group, n in bank.counts().items()},
        "dropped": {str(group): n for group, n in bank.dropped.items()},
    }
    write_tensors(Path(folder), STEM, tensors, facts)


def load_bank(folder: Path) -> KernelBank:
    """Read a kernel bank.

    Raises:
        ValueError: If a file is missing, damaged, or does not fit the other; names it.
    """
    folder = Path(folder)
    path = folder / f"{STEM}.json"
    facts, tensors = read_facts(folder, STEM), read_tensors(folder, STEM)
    try:
        members = tuple((int(seed), int(cycle)) for seed, cycle in fact(facts, "members", path))
        layers = {int(group): tuple(names) for group, names in fact(facts, "layers", path).items()}
        channels = _read_channels(facts)
        groups = {
            group: _read_group(tensors, group, names, channels.get(group, {}))
            for group, names in layers.items()
        }
        dropped = {int(group): int(n) for group, n in facts.get("dropped", {}).items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: does not fit {STEM}.safetensors: {error!r}") from None
    bank = KernelBank(members, groups, dropped)
    _check(bank, folder / f"{STEM}.safetensors")
    return bank


def read_layers(folder: Path) -> dict[int, dict[str, tuple[int, int] | None]]:
    """The layers of a bank by group, with their numbers of channels where the bank knows them.

    Reads ``bank.json`` alone.

    Raises:
        ValueError: If the file is missing or damaged; names it.
    """
    path = Path(folder) / f"{STEM}.json"
    facts = read_facts(Path(folder), STEM)
    try:
        channels = _read_channels(facts)
        return {
            int(group): {str(name): channels.get(int(group), {}).get(name) for name in names}
            for group, names in fact(facts, "layers", path).items()
        }
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: describes no kernel bank: {error}") from None


def kernel_channels(net: nn.Module, group: int) -> dict[str, tuple[int, int]]:
    """Input and output channels of a network's 3x3x3 convolutions in one group, by layer name.

    Raises:
        ValueError: If a 3x3x3 convolution belongs to no group.
    """
    shapes = {
        layer.name: kernel_weight(net.get_submodule(layer.name)).shape
        for layer in kernel_layers(net)
        if layer.group == group
    }
    return {name: (shape[1], shape[0]) for name, shape in shapes.items()}


def _require_one_shape(nets: Mapping[Member, nn.Module]) -> None:
    """A place ``out * in_channels + in`` means one connection in networks of one shape only."""
    first, *others = nets.items()
    for group in GROUPS:
        expected = kernel_channels(first[1], group)
        for member, net in others:
            channels = kernel_channels(net, group)
            different = [name for name in expected if channels.get(name) != expected[name]]
            if different or channels.keys() != expected.keys():
                raise ValueError(
                    f"the networks of a kernel bank must have one shape: those of (seed, cycle) {first[0]} "
                    f"and {member} differ in {', '.join(different) or 'their layers'}"
                )


def _collect(nets: list[nn.Module], group: int) -> BankGroup:
    kernels, layer, member, position = [], [], [], []
    names: list[str] = []
    for member_place, net in enumerate(nets):
        by_layer = extract_kernels(net, group)
        names = names or [name for name, _ in by_layer]
        for name, weights in by_layer:
            kernels.append(weights.float().cpu())
            layer.append(torch.full((len(weights),), names.index(name)))
            member.append(torch.full((len(weights),), member_place))
            position.append(torch.arange(len(weights)))
    indices = (torch.cat(layer), torch.cat(member), torch.cat(position))
    return BankGroup(torch.cat(kernels), *indices, tuple(names), kernel_channels(nets[0], group))


def _large(held: BankGroup, relative_norm: float) -> Tensor:
    norm = held.kernels.norm(dim=1)
    large = torch.zeros_like(norm, dtype=torch.bool)
    for place in range(len(held.layers)):
        here = held.layer == place
        large |= here & (norm > relative_norm * norm[here].median())
    return large


def _root_mean_square(kernels: Tensor) -> float:
    return float(kernels.double().square().mean().sqrt()) if len(kernels) else 0.0


def _read_channels(facts: Mapping[str, Any]) -> dict[int, Channels]:
    return {int(group): read_channels(layers) for group, layers in facts.get("channels", {}).items()}


def _read_group(
    tensors: Mapping[str, Tensor], group: int, layers: tuple[str, ...], channels: Channels
) -> BankGroup:
    parts = ("kernels", "layer", "member", "position")
    kernels, layer, member, position = (tensors[f"group{group}.{part}"] for part in parts)
    return BankGroup(kernels, layer, member, position, layers, channels)


def _check(bank: KernelBank, path: Path) -> None:
    for group, held in bank.groups.items():
        n = len(held.kernels)
        indices = (held.layer, held.member, held.position)
        shapes_fit = held.kernels.shape == (n, KERNEL_VOXELS) and all(
            index.shape == (n,) for index in indices
        )
        if not shapes_fit or held.kernels.dtype != torch.float32:
            raise ValueError(f"{path}: group {group} should hold float32 kernels (n, 27) with n indices")
        if n and (_outside(held.layer, len(held.layers)) or _outside(held.member, len(bank.members))):
            raise ValueError(
                f"{path}: group {group} points to a layer or member that {STEM}.json does not name"
            )


def _outside(places: Tensor, n: int) -> bool:
    return bool((places < 0).any() or (places >= n).any())
