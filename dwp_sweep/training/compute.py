"""Where, how precisely and by which route to compute.

What can change a result in its last bits is part of a node's key, save the device: a node may resume on
another machine. No field for `torch.compile`: minutes to start, slower steps than without on the CPU that was
measured. Knows nothing of networks: the stages hand the fields on.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from dwp_sweep.strict import StrictModel, unkeyed


class ComputeConfig(StrictModel):
    """Numerics and device of a stage.

    Attributes:
        device: ``auto`` takes a GPU where the process sees one.
        precision: ``bf16`` runs forward passes under autocast; weights and losses stay float32. Faster on
            processors that have it, slow on others.
        channels_last: Store a network's activations voxel by voxel. None: on CPUs, where it is faster; not
            on GPUs, whose normalisation wants the other layout.
        checkpointing: Drop activations and compute them again for the gradient: less memory, about a third
            more time, the same gradients.
        cache_dir: Folder of preprocessed volumes; filled in from the storage.
    """

    device: Literal["auto", "cpu", "cuda"] = unkeyed("auto")
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool | None = None
    checkpointing: bool = unkeyed(False)
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


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device; a GPU's copy runs beside the host, which goes on at once."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
