"""Where and how precisely to compute. Device and cache never change a key; precision does."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from dwp_sweep.strict import StrictModel, unkeyed


class ComputeConfig(StrictModel):
    """Numerics and device of a stage.

    Attributes:
        device: ``auto`` takes a GPU where the process sees one.
        precision: ``bf16`` runs forward passes under autocast; weights and losses stay float32.
        cache_dir: Folder of preprocessed volumes; filled in from the storage.
    """

    device: Literal["auto", "cpu", "cuda"] = unkeyed("auto")
    precision: Literal["fp32", "bf16"] = "fp32"
    cache_dir: str = unkeyed("")


def resolve_device(config: ComputeConfig) -> torch.device:
    """The device of this process."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def autocast(config: ComputeConfig, device: torch.device) -> AbstractContextManager[object]:
    """The forward pass's context for the configured precision."""
    if config.precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
