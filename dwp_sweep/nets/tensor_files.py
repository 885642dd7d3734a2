"""Tensors with a plain JSON description beside them: ``<stem>.safetensors`` and ``<stem>.json``.

The one way in which networks, kernel banks and priors are written, so that nothing read back can
execute code. It knows nothing of what the tensors are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def write_tensors(folder: Path, stem: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``<stem>.safetensors`` and ``<stem>.json`` into a folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, folder / f"{stem}.safetensors")
    (folder / f"{stem}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_facts(folder: Path, stem: str) -> dict[str, Any]:
    """The JSON description alone.

    Raises:
        ValueError: If it is missing or no JSON object; names the file.
    """
    path = Path(folder) / f"{stem}.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; expected {stem}.json and {stem}.safetensors") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no readable JSON file: {error}") from None
    if not isinstance(facts, dict):
        raise ValueError(f"{path}: should hold a JSON object, not {type(facts).__name__}")
    return facts


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


def fact(facts: Mapping[str, Any], key: str, path: Path) -> Any:
    """A value that the description must have.

    Raises:
        ValueError: If it is missing; names the file and the key.
    """
    if key not in facts:
        raise ValueError(f"{path}: missing key {key!r}")
    return facts[key]


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fill a module with tensors of a file, all of them and nothing else.

    Raises:
        ValueError: If names or shapes differ from the module's; names the file.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(f"{path}: the tensors do not fit the description beside them: {error}") from None
