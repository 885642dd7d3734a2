"""Work on several scans at once, each result told in the calling thread as soon as it is there.

Threads: reading, unpacking and resampling mostly leave Python's lock, and nothing is copied between
processes. Knows nothing of what the work is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import torch

MOST_AT_ONCE = 8
"""Scans that are worked on at once, at most; fewer where the process has fewer cores. Each takes the memory
of some volumes."""

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R]]:
    """Do something with each item; yields (place in the items, result) in the order of completion.

    What the work raises is raised here, and nothing new begins after it; the same where the caller leaves.
    """
    n_threads = min(MOST_AT_ONCE, torch.get_num_threads(), max(1, len(items)))
    with ThreadPoolExecutor(n_threads, thread_name_prefix="scans") as pool:
        places = {pool.submit(work, item): place for place, item in enumerate(items)}
        try:
            for future in as_completed(places):
                yield places[future], future.result()
        finally:
            for future in places:
                future.cancel()
