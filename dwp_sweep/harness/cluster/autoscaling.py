"""Waiting for a cluster to grow has an end: how long nothing has run because no machine is large enough.

Knows nothing of Ray; `run` tells it what is there and stops when the patience is over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dwp_sweep.errors import Problem
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.slots import Machines, Resources, impossible, slots

DEFAULT_WAIT_S = 900.0
"""A cloud's machine needs some minutes to come; one that has not come after this long will not."""

_OF_NO_TYPE = "node_"
"""Ray names the types of machines so that nobody launches: a cluster that grows has types of its own."""


def grows(status: bytes | None) -> bool:
    """Whether the autoscaler's status, as Ray's key-value store has it, is of one that launches machines.

    Every head writes a status, also that of a cluster of fixed size.
    """
    try:
        report = json.loads(status or b"{}")["autoscaler_report"]
        types = {*(report["active_nodes"] or {}), *(report.get("idle_nodes") or {})}
        pending = [*(report.get("pending_nodes") or ()), *(report.get("pending_launches") or ())]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(pending) or any(not name.startswith(_OF_NO_TYPE) for name in types)


@dataclass
class Patience:
    """How long a run has stood still for want of a large enough machine.

    Attributes:
        resources_by_stage: Stage -> resources of its trials.
        machines: Those that are alive now.
        limit_s: After how long it is enough.
    """

    resources_by_stage: Mapping[str, Resources]
    machines: Machines
    limit_s: float = DEFAULT_WAIT_S
    now: Callable[[], float] = time.monotonic
    _since_s: float | None = None

    def over(self, ledger: Ledger) -> list[Problem]:
        """What was waited for in vain; empty as long as anything runs or the limit is not reached."""
        waiting = self._waiting(ledger)
        if not waiting:
            self._since_s = None
            return []
        if self._since_s is None:
            self._since_s = self.now()
        if self.now() - self._since_s < self.limit_s:
            return []
        return [_in_vain(one, self.limit_s) for one in impossible(waiting, self.machines())]

    def _waiting(self, ledger: Ledger) -> dict[str, Resources]:
        """The stages that wait, where none of the nodes in hand can start."""
        if ledger.in_hand.running():
            return {}
        present: Sequence[Resources] = self.machines()
        stages = {work.node.stage for work in ledger.work.values()}
        if any(slots(self.resources_by_stage[stage], present) for stage in stages):
            return {}
        return {stage: self.resources_by_stage[stage] for stage in sorted(stages)}


def _in_vain(problem: Problem, limit_s: float) -> Problem:
    what = f"{problem.what}; none came within {limit_s:g} s"
    return Problem(
        problem.where, what, "lower it, or see why the autoscaler adds no such machine (ray status)"
    )
