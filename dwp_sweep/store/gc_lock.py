"""The lock between garbage collection and runs: they exclude each other on one storage.

``gc.json`` on the storage names the process that removes, as a run's file names the run (`heartbeat`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.store.heartbeat import LiveRun, live_runs, read_alive, this_process
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import json_text

_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.2
_NAME = "gc.json"


@contextlib.contextmanager
def gc_lock(store: Store) -> Iterator[Callable[[], None]]:
    """Context in which things may be removed; runs that start in this time wait for its end.

    Yields:
        A function to call regularly: it refreshes the lock for other machines.

    Raises:
        InputError: A run or another garbage collection is working on this storage.
    """
    who = {"sweep": "", "run": "gc", **this_process(), "started_ms": time.time_ns() // 1_000_000}
    if gc_at_work(store) is None:
        store.files.remove(_NAME)  # a process that was killed has left it
    if not store.files.create(_NAME, json_text(who)):  # one of two processes is refused
        what = "another dwp-sweep gc is removing things there"
        raise InputError(Problem(store.place, what, "try again when it has ended"))
    try:
        forbid_while_live(store)
        yield lambda: store.files.refresh(_NAME)
    finally:
        store.files.remove(_NAME)


def forbid_while_live(store: Store) -> None:
    """Make sure that no run is working on a storage.

    Raises:
        InputError: One is; names it.
    """
    runs = live_runs(store)
    if runs:
        who = ", ".join(f"{run.sweep} (process {run.pid} on {run.host})" for run in runs)
        what = f"a run is working on it: {who}"
        raise InputError(Problem(store.place, what, f"wait, or: dwp-sweep cancel {runs[0].sweep}"))


def wait_for_gc(store: Store, patience_s: float = _PATIENCE_S) -> bool:
    """Wait until no garbage collection is running; call it after the `Heartbeat` has started.

    Args:
        store: The storage.
        patience_s: Longest time to wait.

    Returns:
        Whether there was one.

    Raises:
        InputError: It takes longer.
    """
    until_s = time.monotonic() + patience_s
    other = gc_at_work(store)
    was_busy = other is not None
    while other is not None:
        if time.monotonic() >= until_s:
            what = f"process {other.pid} on {other.host} is removing what no sweep needs (dwp-sweep gc)"
            raise InputError(Problem(store.place, what, "try again when it has ended"))
        time.sleep(_LOOK_EVERY_S)
        other = gc_at_work(store)
    return was_busy


def gc_at_work(store: Store) -> LiveRun | None:
    """The garbage collection that is running; None: there is none."""
    return read_alive(store, _NAME)
