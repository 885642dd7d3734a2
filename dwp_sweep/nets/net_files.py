"""Networks on disk, and the one form of all tensors on disk: ``<stem>.safetensors`` beside ``<stem>.json``.

Networks, kernel banks and priors are written this way, so that nothing read back can execute code. The
description of a network holds its shape, so that a folder is all that `load_net` needs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dwp_sweep.nets.bayes_conv import BayesConv3d, Noise, make_bayesian
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig
from dwp_sweep.strict import json_of, large_numbers

STEM = "net"
CLASSES = "classes"
"""Its name among the facts that a stage adds: which labels each output of the network stands for."""


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
    def class_names(self) -> tuple[str, ...]:
        """Of the outputs behind the background; empty where there is one foreground."""
        classes = self.extra.get(CLASSES)
        return tuple(classes) if isinstance(classes, Mapping) else ()


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
    with torch.device("meta"):  # no memory before the tensors are known to fit
        net = UNet3D(**facts.unet.model_dump())
        if facts.noise is not None:
            make_bayesian(net, noise=facts.noise)
    net.background = facts.background
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
        unet = UNetConfig.model_validate_json(json.dumps(fact(facts, "unet", path)), strict=True)
    except ValidationError as error:
        raise ValueError(f"{path}: 'unet' is no valid network shape: {error}") from None
    noise = facts.get("noise") if fact(facts, "bayesian", path) else None
    if noise not in (None, "weight", "local"):
        raise ValueError(f"{path}: noise must be 'weight' or 'local', not {noise!r}")
    background = facts.get("background", 0.0)
    if not is_number(background):
        raise ValueError(f"{path}: background must be a number, not {background!r}")
    return NetFacts(unet, cast("Noise | None", noise), float(background), facts.get("extra", {}))


def write_tensors(folder: Path, stem: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``<stem>.safetensors`` and ``<stem>.json`` into a folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, folder / f"{stem}.safetensors")
    (folder / f"{stem}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_tensors(folder: Path, stem: str) -> dict[str, Tensor]:
    """The tensors alone, on the CPU.

    Raises:
        ValueError: If the file is missing, damaged or holds a number that is not finite; names it.
    """
    path = Path(folder) / f"{stem}.safetensors"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected {stem}.json and {stem}.safetensors")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: no readable safetensors file: {error}") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{path}: tensor {name!r} holds NaN or infinite numbers")
    return tensors


def read_facts(folder: Path, stem: str) -> dict[str, Any]:
    """The JSON description alone.

    Raises:
        ValueError: If it is missing or no JSON object; names the file.
    """
    path = Path(folder) / f"{stem}.json"
    try:
        facts = json_of(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; expected {stem}.json and {stem}.safetensors") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no readable JSON file: {error}") from None
    if not isinstance(facts, dict):
        raise ValueError(f"{path}: should hold a JSON object, not {type(facts).__name__}")
    for what in large_numbers(facts, largest=2**53):
        raise ValueError(f"{path}: {what}")
    return facts


def is_number(value: object) -> bool:
    """Whether a plain value is a finite number; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def fact(facts: Mapping[str, Any], key: str, path: Path) -> Any:
    """A value that the description must have.

    Raises:
        ValueError: If it is missing; names the file and the key.
    """
    if key not in facts:
        raise ValueError(f"{path}: missing key {key!r}")
    return facts[key]


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Make tensors of a file those of a module, all of them and nothing else.

    Args:
        module: Its own tensors may be on ``meta``, where they take no memory.
        tensors: Of the file.
        path: File named in the error.

    Raises:
        ValueError: If names or shapes differ from the module's; names the file.
    """
    dtypes = {name: own.dtype for name, own in module.state_dict().items()}
    # Copies: the tensors of a file may be mapped from it, and it need not stay.
    copies = {name: tensor.to(dtypes.get(name), copy=True) for name, tensor in tensors.items()}
    try:
        module.load_state_dict(copies, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path}: the tensors do not fit the description beside them: {error}") from None
