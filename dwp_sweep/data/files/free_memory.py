"""Memory that scans may take: what is free, and turns for threads that prepare several scans at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_CONTROL_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where a container's limit stands and what it uses, version 2 and 1."""
_CACHED_FILES = ("active_file", "inactive_file", "total_active_file", "total_inactive_file")
"""Parts of `memory.stat` that a container counts as used, and that the system gives back when asked."""


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, or of the container if that allows less."""
    free = int(psutil.virtual_memory().available)
    for folder, limit, used in _CONTROL_GROUPS:
        with suppress(OSError, ValueError):  # not there, or without a limit ("max")
            unused = int(Path(folder, limit).read_text()) - int(Path(folder, used).read_text())
            free = min(free, max(0, unused + _cached_bytes(Path(folder, "memory.stat"))))
    return free


class MemoryTurns:
    """Lets threads work side by side only as far as memory holds what they take together."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: list[int] = []
        self._free = 0

    @contextmanager
    def take(self, n_bytes: int) -> Iterator[None]:
        """Wait until the bytes fit beside those of the others; whoever is alone never waits.

        Args:
            n_bytes: What the work inside takes at its peak.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or sum(self._taken) + n_bytes <= self._free)
            if not self._taken:
                self._free = free_memory()  # measured alone: others' work would have part of it already
            self._taken.append(n_bytes)
        try:
            yield
        finally:
            with self._changed:
                self._taken.remove(n_bytes)
                self._changed.notify_all()


memory_turns = MemoryTurns()
"""Of this process."""


def _cached_bytes(stat: Path) -> int:
    values = dict(line.split() for line in stat.read_text().splitlines() if len(line.split()) == 2)
    parts = [int(values.get(name, 0)) for name in _CACHED_FILES]
    return max(sum(parts[:2]), sum(parts[2:]))  # version 1 has both, the second with all groups below
