"""Running out of device memory, said in words that a user can act on.

A stage puts its whole body under `memory_advice`: memory may end when a network moves to the device, in
a step, while test images are scored or a picture is drawn. Knows nothing of networks or training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dwp_sweep.errors import DeviceMemoryError

_SIGNS = ("CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
"""Of a device too full for its own context or for a library's workspace: plain errors in torch."""


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


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS)
