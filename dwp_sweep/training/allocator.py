"""Settings of the C library's allocator that keep large tensors in the process.

glibc gives every large block back to the system and takes a fresh one at the next step; the page faults
are a third of a CPU step. Used where workers start and where benches start their processes. Knows no torch.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

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
