"""Removing and running exclude each other: while one is at work on a storage, the other does not begin.

Both first announce themselves and then look for the other, so that of two that begin at the same moment at
least one sees the other: whoever removes gives up, whoever runs waits. Knows nothing of what is removed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.store.live_run import LiveRun, live_runs, read_alive, this_process
from dwp_sweep.store.record import json_text
from dwp_sweep.store.store import Store

_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.2
_NAME = "gc.json"


@contextlib.contextmanager
def tidying(store: Store) -> Iterator[Callable[[], None]]:
    """Context in which things may be removed; runs that are started meanwhile wait for its end.

    Yields:
        To be called now and then: tells other machines that this one is still at work.

    Raises:
        InputError: A run, or somebody else who removes, is working on this storage.
    """
    _announce(store)
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


def wait_for_tidying(store: Store, patience_s: float = _PATIENCE_S) -> bool:
    """Wait until nobody removes anything from a storage; call it after announcing a run.

    Args:
        store: The storage.
        patience_s: Longest time to wait.

    Returns:
        Whether there was anybody to wait for.

    Raises:
        InputError: It takes longer.
    """
    until_s = time.monotonic() + patience_s
    other = tidier(store)
    was_busy = other is not None
    while other is not None:
        if time.monotonic() >= until_s:
            what = f"process {other.pid} on {other.host} is removing what no sweep needs (dwp-sweep gc)"
            raise InputError(Problem(store.place, what, "try again when it has ended"))
        time.sleep(_LOOK_EVERY_S)
        other = tidier(store)
    return was_busy


def tidier(store: Store) -> LiveRun | None:
    """Who is removing things from a storage now; None: nobody."""
    return read_alive(store, _NAME)


def _announce(store: Store) -> None:
    """Write who removes; of two at the same moment one is refused, since the file is made only once."""
    who = {"sweep": "", "run": "gc", **this_process(), "started_ms": time.time_ns() // 1_000_000}
    if tidier(store) is None:
        store.files.remove(_NAME)  # left by one that was killed
    if not store.files.create(_NAME, json_text(who)):
        what = "another dwp-sweep gc is removing things there"
        raise InputError(Problem(store.place, what, "try again when it has ended"))
