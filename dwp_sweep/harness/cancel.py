"""A run that stops politely: nodes leave at their checkpoints, and the same command goes on from there.

From the run's own terminal by a signal (`Interrupt`): Ctrl-C, or the SIGTERM of ``ray job stop`` and of batch
systems; the second one ends the run at once. From another terminal by `cancel_sweep`, which writes the same
mark on the storage that the run looks for. It replaces Tune's own handler, which stops trials from outside.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.store.heartbeat import LiveRun, live_runs, stop_name
from dwp_sweep.store.protocol import Mark, Store
from dwp_sweep.store.sweep_record import require_sweep

_LOOK_EVERY_S = 0.5


class Interrupt:
    """Context in which SIGINT and SIGTERM drain the run.

    Args:
        stop_file: Written at the first signal; workers look for it after every epoch. Gone at the end.
        on_request: Called at the first signal.
    """

    def __init__(self, stop_file: Mark, on_request: Callable[[], None]) -> None:
        self.stop_file = stop_file
        self.is_requested = False
        self._on_request = on_request
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        # Signals reach the main thread only; in another one there is nothing to replace.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self.stop_file.unlink(missing_ok=True)

    def request(self) -> None:
        """Ask the run to drain."""
        self.is_requested = True
        self.stop_file.touch()
        self._on_request()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        self.request()


def cancel_sweep(sweep: str, store: Store) -> tuple[LiveRun, ...]:
    """Ask every run of a sweep to stop; returns those that were asked, without waiting for them.

    Raises:
        InputError: No such sweep on this storage, or nothing of it runs.
    """
    require_sweep(sweep, store)
    runs = tuple(live_runs(store, sweep))
    if not runs:
        what = "no run of this sweep is working on this storage"
        raise InputError(Problem(sweep, what, f"look: dwp-sweep status {sweep}"))
    for run in runs:
        store.files.write(stop_name(sweep, run.run), "")
    return runs


def wait_for_end(runs: tuple[LiveRun, ...], store: Store, patience_s: float) -> tuple[LiveRun, ...]:
    """Wait until runs have ended; returns those that have not when the patience is over."""
    names = {run.run for run in runs}
    deadline = time.monotonic() + patience_s
    while True:
        left = tuple(run for run in live_runs(store) if run.run in names)
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(_LOOK_EVERY_S)
