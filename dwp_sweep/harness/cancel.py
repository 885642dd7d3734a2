"""Stopping a sweep from another terminal, as Ctrl-C in its own does: nodes leave at their checkpoints.

Writes the stop file that the run's driver and workers look for; ends no process. Knows nothing of Ray.
"""

from __future__ import annotations

import time

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.status import require_sweep
from dwp_sweep.store.live_run import LiveRun, live_runs, stop_name
from dwp_sweep.store.store import Store

_LOOK_EVERY_S = 0.5


def cancel_sweep(sweep: str, store: Store) -> tuple[LiveRun, ...]:
    """Ask every run of a sweep to stop; returns those that were asked, without waiting for them.

    Raises:
        InputError: No such sweep on this storage, or nothing of it runs.
    """
    require_sweep(sweep, store)
    runs = tuple(live_runs(store, sweep))
    if not runs:
        raise InputError(
            Problem(
                sweep, "no run of this sweep is working on this storage", f"look: dwp-sweep status {sweep}"
            )
        )
    for run in runs:
        store.files.write(stop_name(sweep, run.run), "")
    return runs


def wait_for_end(runs: tuple[LiveRun, ...], store: Store, patience_s: float) -> tuple[LiveRun, ...]:
    """Wait until runs have ended; returns those that have not when patience is at its end."""
    names = {run.run for run in runs}
    deadline = time.monotonic() + patience_s
    while True:
        left = tuple(run for run in live_runs(store) if run.run in names)
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(_LOOK_EVERY_S)
