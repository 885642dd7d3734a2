"""What stops a run before its end: a signal, another terminal, a spent budget, no large enough machine.

A run that is asked to stop leaves its nodes at their checkpoints, and the same command goes on from there.
Its own terminal asks by a signal (`Interrupt`), another terminal by `cancel_sweep`, which writes a mark on
the storage. `Watch` looks for that mark, and starts nothing more once there is a reason: `run` makes one,
executors call it at every step, through the ledger.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from dwp_sweep.config.sections import BudgetConfig
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.dag.budget import exhausted, hours_spent
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.resources import Machines, Resources, impossible, slots
from dwp_sweep.harness.notifier import Notifier
from dwp_sweep.stop_signals import on_stop
from dwp_sweep.store.heartbeat import LiveRun, live_runs, now_name, stop_name
from dwp_sweep.store.protocol import Mark, Store
from dwp_sweep.store.sweep_record import require_sweep

DEFAULT_WAIT_S = 900.0
"""A cloud's machine needs some minutes to come; one that has not come after this long will not."""

_LOOK_EVERY_S = 0.5


class Interrupt:
    """Context in which a signal that asks to stop drains the run; the second one raises KeyboardInterrupt.

    Args:
        stop_file: Written at the first signal; workers look for it after every epoch. Gone at the end.
        now_file: Another terminal's wish that a run which is asked to stop ends at once. Gone at the end.
        on_request: Called at the first signal.
    """

    def __init__(self, stop_file: Mark, now_file: Mark, on_request: Callable[[], None]) -> None:
        self.stop_file, self.now_file = stop_file, now_file
        self.is_requested = False
        self._on_request = on_request
        self._is_marked = self._must_mark = False
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> Interrupt:
        self._handlers.enter_context(on_stop(self._handle))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handlers.close()
        self.stop_file.unlink(missing_ok=True)
        self.now_file.unlink(missing_ok=True)

    @property
    def is_leaving(self) -> bool:
        """Whether the nodes in hand were asked to leave."""
        return self._must_mark

    def request(self) -> None:
        """Ask the run to drain."""
        self.is_requested = True
        self._on_request()
        self.leave()

    def leave(self) -> None:
        """Ask the nodes in hand to leave at their checkpoints."""
        self._must_mark = True
        self.mark()

    def mark(self) -> None:
        """Write the stop file where it is due; where the storage fails, the next call does."""
        if self._must_mark and not self._is_marked:
            with contextlib.suppress(OSError):
                self.stop_file.touch()
                self._is_marked = True

    def _handle(self) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        self.request()


@dataclass
class Watch:
    """Lets a run start nothing more once there is a reason; made when the machines are ready.

    Attributes:
        ledger: Of the run.
        limits: Its budget.
        resources_by_stage: Stage -> resources of its trials.
        interrupt: Drains the run; its file is the word of another terminal.
        hold_file: Keeps nodes from beginning that an executor has in hand.
        patience: With a cluster that has to grow.
        is_lost: Whether nothing in hand will ever end; a run that is asked to stop does not wait for it.
        notifier: Tells people; None: nobody.
        in_vain: What no machine was large enough for, once the patience is over.
    """

    ledger: Ledger
    limits: BudgetConfig
    resources_by_stage: Mapping[str, Resources]
    interrupt: Interrupt
    hold_file: Mark
    patience: Patience
    is_lost: Callable[[], bool]
    notifier: Notifier | None = None
    in_vain: Sequence[Problem] = ()
    _looked_s: float = float("-inf")
    _ready_s: float = field(default_factory=time.monotonic)

    def __call__(self) -> None:
        """Look, at most twice a second.

        Raises:
            KeyboardInterrupt: The run is asked to stop, and the executor's machines are gone; or at once.
        """
        if time.monotonic() - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        if self.notifier is not None and (problem := self.notifier.look()):
            self.ledger.note(problem)
        if not self.interrupt.is_leaving and self.interrupt.stop_file.exists():
            self.interrupt.request()
        self.interrupt.mark()
        if self.interrupt.is_leaving and (self.interrupt.now_file.exists() or self.is_lost()):
            raise KeyboardInterrupt
        if not self.ledger.spent and (problems := self.patience.over(self.ledger)):
            self.in_vain = problems
            self.ledger.start_no_more("no machine came that is large enough")
        if not self.ledger.spent:
            seconds = self.ledger.in_hand.seconds_used()
            spent = hours_spent(seconds, self.resources_by_stage, time.monotonic() - self._ready_s)
            if reason := exhausted(self.limits, spent):
                self.hold_file.touch()  # what Tune has in hand but has not begun does not begin
                self.ledger.start_no_more(reason, at_end=self.limits.at_end)
                if self.limits.at_end == "checkpoint":
                    self.interrupt.leave()


@dataclass
class Patience:
    """How long a run has stood still for want of a large enough machine.

    Attributes:
        resources_by_stage: Stage -> resources of its trials.
        machines: Those that are alive now.
        limit_s: How long it may stand still.
    """

    resources_by_stage: Mapping[str, Resources]
    machines: Machines
    limit_s: float = DEFAULT_WAIT_S
    now: Callable[[], float] = time.monotonic
    _since_s: float | None = None

    def over(self, ledger: Ledger) -> list[Problem]:
        """The stages that no machine is large enough for; empty while anything runs or may still come."""
        waiting = self._waiting(ledger)
        if not waiting:
            self._since_s = None
            return []
        if self._since_s is None:
            self._since_s = self.now()
        if self.now() - self._since_s < self.limit_s:
            return []
        fix = "lower it, or see why the autoscaler adds no such machine (ray status)"
        return [
            Problem(problem.where, f"{problem.what}; none came within {self.limit_s:g} s", fix)
            for problem in impossible(waiting, self.machines())
        ]

    def _waiting(self, ledger: Ledger) -> dict[str, Resources]:
        """The stages that wait, where none of the nodes in hand can start."""
        if ledger.in_hand.running():
            return {}
        present = self.machines()
        stages = {work.node.stage for work in ledger.in_hand.work.values()}
        if any(slots(self.resources_by_stage[stage], present) for stage in stages):
            return {}
        return {stage: self.resources_by_stage[stage] for stage in sorted(stages)}


def cancel_sweep(sweep: str, store: Store, at_once: bool = False) -> tuple[LiveRun, ...]:
    """Ask every run of a sweep to stop; returns those that were asked, without waiting for them.

    Args:
        sweep: Its name.
        store: Its storage.
        at_once: Workers are killed in the middle of their epochs.

    Raises:
        InputError: No such sweep on this storage, or nothing of it runs.
    """
    require_sweep(sweep, store)
    runs = tuple(live_runs(store, sweep))
    if not runs:
        what = "no run of this sweep is working on this storage"
        raise InputError(Problem(sweep, what, f"look: dwp-sweep status {sweep}"))
    for run in runs:
        if at_once:  # first: the run looks for it when it has seen the other one
            store.files.write(now_name(sweep, run.run), "")
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
