"""State of a worker process that many nodes use one after another: allocator, threads, memory of the device.

Reused processes save 95 % of a trial's start, but keep what the node before left behind.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import sys
from pathlib import Path

from dwp_sweep.harness.dag.slots import Resources


def prepare_process(resources: Resources, folder: str, hides_gpu: bool = True) -> None:
    """Bring the process into a known state before a node.

    Args:
        resources: The trial's resources: threads and share of the GPU.
        folder: Working folder that relative paths of configs refer to; Tune has changed it.
        hides_gpu: Whether a trial that asks for no GPU must not see any.
    """
    keep_large_blocks()
    # Tune resets an actor right after a node: a thread that still tidies up must not fail the next one.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "600"
    if Path(folder).is_dir():
        os.chdir(folder)
    gc.collect()  # what the node before left in reference cycles, e.g. a network on the device
    _spare_libraries()
    if resources.gpu == 0 and hides_gpu:
        # Ray leaves all GPUs visible to a trial that asked for none: Ray would not count its use.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(max(1, int(resources.cpu)))
        if torch.cuda.is_available() and resources.gpu > 0:
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(min(resources.gpu, 1.0))


@functools.cache
def _spare_libraries() -> None:
    """Once a process: what torch has loaded lives as long as it does, and each look takes 0.2 s."""
    gc.freeze()


MALLOC_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
}
"""glibc keeps large tensors instead of giving them back at every step: 24,000 page faults a step become
none, and a step of 0.13 s takes 0.08 s (3D convolutions in a thread, as Tune runs them). One arena, because
the arenas of threads are too small for large tensors and would still map and unmap them."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


@functools.cache
def keep_large_blocks() -> None:
    """Do what `MALLOC_ENVIRONMENT` does, where the process was started without it (an existing cluster)."""
    if not sys.platform.startswith("linux") or "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for parameter, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(parameter, value)
