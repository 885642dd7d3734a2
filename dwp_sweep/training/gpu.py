"""Whether this process can compute on its GPU, and what it has computed on.

`deploy/require_gpu.py` says the same of a machine before the package is installed there, and more on images.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

_DRIVER = Path("/sys/module/nvidia/version")
_COUNTER = "allocation.all.allocated"


def gpu_trouble() -> str:
    """Why torch cannot compute on the GPU of this process, with the versions; empty: it can."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a build without CUDA, and the driver is {_driver()}"
    built = f"torch {torch.__version__} is built for CUDA {torch.version.cuda or torch.version.hip}"
    if not torch.cuda.is_available():
        return f"{built} and sees no GPU, and the driver is {_driver()}"
    try:
        torch.zeros(1, device="cuda").add_(1).item()
    except RuntimeError as error:  # e.g. a card that this build has no kernels for
        first = str(error).strip().splitlines()[0]
        return f"{built}, the driver is {_driver()}, and {torch.cuda.get_device_name()} fails: {first}"
    return ""


class DeviceWatch:
    """Says on what a process has computed since the watch was made, by the memory that it took on the GPU."""

    def __init__(self) -> None:
        self._before = _n_allocated()

    def device(self) -> str:
        """``cpu``, or the name of the GPU."""
        return torch.cuda.get_device_name() if _n_allocated() > self._before else "cpu"


def _n_allocated() -> int:
    """Number of blocks that this process has ever taken on its GPU."""
    if not torch.cuda.is_available() or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return 0
    return int(torch.cuda.memory_stats().get(_COUNTER, 0))


def _driver() -> str:
    """NVIDIA's driver for people: its version, and the newest CUDA that it runs."""
    newest = ctypes.c_int(0)
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(newest))
    except (OSError, AttributeError):
        return "missing"
    version = _DRIVER.read_text().strip() if _DRIVER.is_file() else "of an unknown version"
    return f"{version} (CUDA {newest.value // 1000}.{newest.value % 1000 // 10} at most)"
