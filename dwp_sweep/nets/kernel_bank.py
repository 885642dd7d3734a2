"""The kernel bank: every 3x3x3 kernel of every source network, by group.

Made by the harvest stage from the members (seed, cycle) of source training; the seven priors learn from it.
Kernels are stored raw; how they are standardised is decided by whoever learns from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dwp_sweep.nets.kernel_groups import GROUPS, KERNEL_VOXELS, extract_kernels
from dwp_sweep.nets.tensor_files import fact, read_facts, read_tensors, write_tensors

STEM = "bank"

Member = tuple[int, int]
"""Seed and cycle of a source network."""

Standardise = Literal["group", "layer"]


@dataclass(frozen=True)
class BankGroup:
    """The kernels of one group.

    Attributes:
        kernels: Raw kernels, float32 ``(n, 27)``.
        layer: For each kernel, the place of its layer in `layers`; int64 ``(n,)``.
        member: For each kernel, the place of its network in the bank's `members`; int64 ``(n,)``.
        position: For each kernel, its place within its layer, the same in all networks; int64 ``(n,)``.
        layers: Layer names.
    """

    kernels: Tensor
    layer: Tensor
    member: Tensor
    position: Tensor
    layers: tuple[str, ...]

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


@dataclass(frozen=True)
class KernelBank:
    """Kernels of several networks.

    Attributes:
        members: Seed and cycle of each network.
        groups: By group number.
    """

    members: tuple[Member, ...]
    groups: Mapping[int, BankGroup]

    def scales(self, group: int, standardise: Standardise) -> dict[str, float]:
        """Scale of each layer of a group: root mean square of its kernels' voxels.

        The mean is not taken off first: standardised kernels are raw kernels over the scale, no more.

        Args:
            group: 1 to 7.
            standardise: ``group`` gives all layers the scale of the whole group.

        Raises:
            ValueError: If a layer has no kernel that differs from zero.
        """
        held = self.groups[group]
        scales = {
            name: _root_mean_square(
                held.kernels if standardise == "group" else held.kernels[held.layer == place]
            )
            for place, name in enumerate(held.layers)
        }
        dead = [name for name, scale in scales.items() if not 0 < scale < float("inf")]
        if dead:
            raise ValueError(f"no scale for {', '.join(dead)} in kernel group {group}: all kernels are zero")
        return scales

    def counts(self) -> dict[int, int]:
        """Number of kernels by group."""
        return {group: len(held.kernels) for group, held in self.groups.items()}


def collect_bank(nets: Mapping[Member, nn.Module]) -> KernelBank:
    """Harvest all kernels of some networks of one shape.

    Args:
        nets: By seed and cycle.

    Raises:
        ValueError: If there is no network.
    """
    if not nets:
        raise ValueError("a kernel bank needs at least one network")
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
    return replace(bank, groups=groups), dropped


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
        "counts": {str(group): n for group, n in bank.counts().items()},
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
        groups = {group: _read_group(tensors, group, names) for group, names in layers.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: does not fit {STEM}.safetensors: {error!r}") from None
    bank = KernelBank(members, groups)
    _check(bank, folder / f"{STEM}.safetensors")
    return bank


def _collect(nets: list[nn.Module], group: int) -> BankGroup:
    kernels, layer, member, position = [], [], [], []
    names: list[str] = []
    for member_place, net in enumerate(nets):
        found = extract_kernels(net, group)
        names = names or [name for name, _ in found]
        for name, weights in found:
            kernels.append(weights.float().cpu())
            layer.append(torch.full((len(weights),), names.index(name)))
            member.append(torch.full((len(weights),), member_place))
            position.append(torch.arange(len(weights)))
    return BankGroup(
        torch.cat(kernels), torch.cat(layer), torch.cat(member), torch.cat(position), tuple(names)
    )


def _large(held: BankGroup, relative_norm: float) -> Tensor:
    norm = held.kernels.norm(dim=1)
    large = torch.zeros_like(norm, dtype=torch.bool)
    for place in range(len(held.layers)):
        here = held.layer == place
        large |= here & (norm > relative_norm * norm[here].median())
    return large


def _root_mean_square(kernels: Tensor) -> float:
    return float(kernels.double().square().mean().sqrt()) if len(kernels) else 0.0


def _read_group(tensors: Mapping[str, Tensor], group: int, layers: tuple[str, ...]) -> BankGroup:
    parts = ("kernels", "layer", "member", "position")
    kernels, layer, member, position = (tensors[f"group{group}.{part}"] for part in parts)
    return BankGroup(kernels, layer, member, position, layers)


def _check(bank: KernelBank, path: Path) -> None:
    for group, held in bank.groups.items():
        n = len(held.kernels)
        indices = (held.layer, held.member, held.position)
        shapes_fit = held.kernels.shape == (n, KERNEL_VOXELS) and all(one.shape == (n,) for one in indices)
        if not shapes_fit or held.kernels.dtype != torch.float32:
            raise ValueError(f"{path}: group {group} should hold float32 kernels (n, 27) with n indices")
        if n and (_outside(held.layer, len(held.layers)) or _outside(held.member, len(bank.members))):
            raise ValueError(
                f"{path}: group {group} points to a layer or member that {STEM}.json does not name"
            )


def _outside(places: Tensor, n: int) -> bool:
    return bool((places < 0).any() or (places >= n).any())
