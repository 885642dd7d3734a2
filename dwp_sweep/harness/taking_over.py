"""Of the drivers of one search one works at a time: a further one is refused, or waits and takes over.

Drivers of a grid share its nodes; of a search only one may decide what is tried next and what is given up. A
driver that has drained removes its heartbeat file, so that the one that waits goes on at once; of a driver
that was killed the file must first be seen to be dead.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.store.heartbeat import Heartbeat, LiveRun, live_runs
from dwp_sweep.store.lease import Holder, RunWatch
from dwp_sweep.store.protocol import Store

_LOOK_EVERY_S = 1.0
_N_LOOKS = 2
"""A file that cannot be read once, on a storage that stutters, is no dead driver."""
_TURN_S = 3.0
"""Two drivers that begin in the same moment both step back, for random times up to this one."""


@contextlib.contextmanager
def at_work(
    sweep: Sweep,
    store: Store,
    run: str,
    facts: Callable[[], Mapping[str, Any]],
    watch: RunWatch,
    waits: bool = False,
) -> Iterator[bool]:
    """Context in which a run has its heartbeat and, where it is a search, is the only one that has.

    Args:
        sweep: What is run.
        store: Where.
        run: Unique name of the run.
        facts: For the heartbeat.
        watch: Knows which runs are dead; the longer it exists, the sooner.
        waits: Wait for the end of the other driver.

    Yields:
        Whether it has waited: what was planned before may be outdated.

    Raises:
        InputError: Another driver runs the search, and this one does not wait.
    """
    has_waited = False
    while True:
        # First the own file, then the look: of two drivers that begin now one at least sees the other.
        with Heartbeat(store, sweep.name, run, facts):
            other = other_driver(sweep, store, watch, run)
            if other is None:
                yield has_waited
                return
            if not waits:
                what = f"process {other.pid} on {other.host} runs this search already"
                fix = f"--wait-for-driver takes it over at its end; look: dwp-sweep status {sweep.name}"
                raise InputError(Problem(sweep.name, what, fix))
        has_waited = True
        time.sleep(random.uniform(0.0, _TURN_S))
        wait_for_driver(sweep, store, watch)


def wait_for_driver(
    sweep: Sweep, store: Store, watch: RunWatch, say: Callable[[str], None] = lambda text: None
) -> None:
    """Wait until no other driver runs a search; at once where none does, and for a grid.

    Args:
        sweep: What is to be run.
        store: Where.
        watch: Knows which runs are dead.
        say: Receives whom it waits for.
    """
    told, n_free = "", 0
    while True:
        other = other_driver(sweep, store, watch)
        if other is None:
            n_free += 1
            if not told or n_free >= _N_LOOKS:
                return
        else:
            n_free = 0
            if other.run != told:
                what = f"process {other.pid} on {other.host} runs {sweep.name}"
                say(f"{what}: waiting until it has ended or is dead, then this run takes over")
                told = other.run
        time.sleep(max(_LOOK_EVERY_S, store.files.look_every_s))


def other_driver(sweep: Sweep, store: Store, watch: RunWatch, own: str = "") -> LiveRun | None:
    """Another live driver of a search; None: there is none, or it is a grid, whose drivers share it."""
    if sweep.search is None:
        return None
    runs = [run for run in live_runs(store, sweep.name) if run.run != own]
    alive = (run for run in runs if watch.is_alive(Holder(run.run, run.sweep, run.host)))
    return next(alive, None)
