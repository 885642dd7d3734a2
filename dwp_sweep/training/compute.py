"""Where, how precisely and from which seeds to compute.

What can change a result in its last bits is part of a node's key, save the device: a node may resume on
another machine. No field for `torch.compile`: minutes to start, slower steps than without on the CPU that was
measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from dwp_sweep.errors import DeviceMemoryError
from dwp_sweep.strict import StrictModel, expert, unkeyed

_SIGNS = ("CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
"""Of a device too full for its own context or for a library's workspace: plain errors in torch."""


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
    channels_last: bool | None = expert(None)
    checkpointing: bool = unkeyed(False)
    cache_dir: str = unkeyed("", expert=True)


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
    """A tensor on the device; a copy from the host to a GPU runs beside the host, which goes on at once."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def memory_advice(batch_field: str, batch_size: int) -> Iterator[None]:
    """Turn torch's error into one that names what to change.

    Args:
        batch_field: Dotted key of the batch size, e.g. ``target.batch_size``.
        batch_size: Its value.

    Raises:
        DeviceMemoryError: The device ran out of memory in the context.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise DeviceMemoryError(
            f"the device ran out of memory: lower {batch_field} (now {batch_size}), train on patches "
            f"({batch_field.partition('.')[0]}.patch.shape) or smaller ones, set compute.precision: bf16, or "
            "give the stage a larger share of a GPU"
        ) from error


def named_seed(seed: int, name: str) -> int:
    """A 63-bit seed for one purpose, independent of the order in which purposes are asked for."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def named_generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose (``order``, ``noise``, ``init``, ...)."""
    return torch.Generator(device).manual_seed(named_seed(seed, name))


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS)
