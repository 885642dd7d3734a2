"""Segmentation networks as files: ``net.safetensors`` and ``net.json``.

Written by the source and target stages, read by every later stage and by users. A variational network
comes back with its distribution and predicts with the posterior mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import nn

from dwp_sweep.nets.bayes_conv import BayesConv3d, Noise, make_bayesian
from dwp_sweep.nets.tensor_files import fact, load_state, read_facts, read_tensors, write_tensors
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig

STEM = "net"


@dataclass(frozen=True)
class NetFacts:
    """What ``net.json`` says.

    Attributes:
        unet: Shape of the network.
        noise: Noise mode of a variational network; None for a plain one.
        background: What its scans were padded with; networks from before it was written used 0.
        extra: What the writer added.
    """

    unet: UNetConfig
    noise: Noise | None = None
    background: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bayesian(self) -> bool:
        """Whether the 3x3x3 convolutions hold distributions."""
        return self.noise is not None


def save_net(
    net: nn.Module, unet_config: UNetConfig, folder: Path, extra: Mapping[str, Any] | None = None
) -> None:
    """Write a network.

    Args:
        net: A `UNet3D`, plain or after `make_bayesian`.
        unet_config: Its shape.
        folder: Made if missing.
        extra: Plain JSON values to keep beside it, such as the labels or the epoch.
    """
    noises = {module.noise for module in net.modules() if isinstance(module, BayesConv3d)}
    facts = {
        "format": 1,
        "unet": unet_config.model_dump(mode="json"),
        "bayesian": bool(noises),
        "noise": min(noises) if noises else None,
        "background": float(getattr(net, "background", 0.0)),
        "extra": dict(extra or {}),
    }
    write_tensors(Path(folder), STEM, net.state_dict(), facts)


def load_net(folder: Path) -> nn.Module:
    """The network of a folder, on the CPU, in evaluation mode.

    Raises:
        ValueError: If a file is missing, damaged, or does not fit the other; names it.
    """
    folder = Path(folder)
    facts = read_net_facts(folder)
    with torch.random.fork_rng(devices=[]):  # the start drawn here is overwritten at once
        net = UNet3D(**facts.unet.model_dump())
    net.background = facts.background
    if facts.noise is not None:
        make_bayesian(net, noise=facts.noise)
    load_state(net, read_tensors(folder, STEM), folder / f"{STEM}.safetensors")
    return net.eval()


def read_net_facts(folder: Path) -> NetFacts:
    """What a folder's ``net.json`` says, without reading the weights.

    Raises:
        ValueError: If the file is missing or invalid; names it.
    """
    path = Path(folder) / f"{STEM}.json"
    facts = read_facts(Path(folder), STEM)
    try:
        unet = UNetConfig.model_validate(fact(facts, "unet", path))
    except ValidationError as error:
        raise ValueError(f"{path}: 'unet' is no valid network shape: {error}") from None
    noise = facts.get("noise") if fact(facts, "bayesian", path) else None
    if noise not in (None, "weight", "local"):
        raise ValueError(f"{path}: noise must be 'weight' or 'local', not {noise!r}")
    background = facts.get("background", 0.0)
    if isinstance(background, bool) or not isinstance(background, int | float):
        raise ValueError(f"{path}: background must be a number, not {background!r}")
    return NetFacts(unet, cast("Noise | None", noise), float(background), facts.get("extra", {}))
