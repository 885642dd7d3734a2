"""Why a run stops before everything is built: another terminal, a spent budget, no large enough machine.

`run` makes one `Watch`; executors call it at every step, through the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dwp_sweep.config.sections import BudgetConfig
from dwp_sweep.errors import Problem
from dwp_sweep.harness.cancel import Interrupt
from dwp_sweep.harness.dag.budget import exhausted, spent_by
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.slots import Machines, Resources, impossible, slots
from dwp_sweep.harness.options import DEFAULT_WAIT_S
from dwp_sweep.store.protocol import Mark

_WATCH_EVERY_S = 0.5


@dataclass
class Watch:
    """Lets a run start nothing more once there is a reason.

    Attributes:
        ledger: Of the run.
        limits: Its budget.
        resources_by_stage: Stage -> resources of its trials.
        interrupt: Drains the run; its file is the word of another terminal.
        hold_file: Keeps nodes from beginning that an executor has in hand.
        patience: With a cluster that has to grow.
        in_vain: What no machine was large enough for, once the patience is over.
    """

    ledger: Ledger
    limits: BudgetConfig
    resources_by_stage: Mapping[str, Resources]
    interrupt: Interrupt
    hold_file: Mark
    patience: Patience
    in_vain: Sequence[Problem] = ()
    _looked_s: float = float("-inf")

    def __call__(self) -> None:
        """Look, at most twice a second."""
        if time.monotonic() - self._looked_s < _WATCH_EVERY_S:
            return
        self._looked_s = time.monotonic()
        if not self.interrupt.is_requested and self.interrupt.stop_file.exists():
            self.interrupt.request()
        if not self.ledger.spent and (problems := self.patience.over(self.ledger)):
            self.in_vain = problems
            self.ledger.start_no_more("no machine came that is large enough")
        if not self.ledger.spent:
            reason = exhausted(self.limits, spent_by(self.ledger, self.resources_by_stage))
            if reason:
                self.hold_file.touch()  # what Tune has in hand but has not begun does not begin
                self.ledger.start_no_more(reason)


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
        stages = {work.node.stage for work in ledger.work.values()}
        if any(slots(self.resources_by_stage[stage], present) for stage in stages):
            return {}
        return {stage: self.resources_by_stage[stage] for stage in sorted(stages)}
