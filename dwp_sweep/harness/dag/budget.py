"""When the money is spent: nothing new starts, what runs goes on to its end, the answer so far counts.

A budget is that of one run of the command; what was built before costs nothing, so the same command
goes on with a fresh one. Asked by `run` at every step. Knows nothing of Ray.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from dwp_sweep.config.resources import BudgetConfig
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.slots import Resources

_HOUR_S = 3600.0


@dataclass(frozen=True)
class Spent:
    """What a run has used.

    Attributes:
        cpu_hours: CPU slots x hours of all trials, running ones up to now.
        gpu_hours: The same with their shares of GPUs.
        wall_s: Seconds since its start.
    """

    cpu_hours: float
    gpu_hours: float
    wall_s: float


def spent_by(ledger: Ledger, shapes: Mapping[str, Resources]) -> Spent:
    """What a run has used up to now.

    Args:
        ledger: Of the run.
        shapes: Stage -> resources of its trials.
    """
    used = {
        stage: seconds / _HOUR_S
        for stage, seconds in ledger.in_hand.seconds_used().items()
        if stage in shapes
    }
    return Spent(
        cpu_hours=sum(shapes[stage].cpu * hours for stage, hours in used.items()),
        gpu_hours=sum(shapes[stage].gpu * hours for stage, hours in used.items()),
        wall_s=time.monotonic() - ledger.started_s,
    )


def exhausted(limits: BudgetConfig, spent: Spent) -> str:
    """Which limit is reached, in words; empty: none. ``trials`` is a matter of `beyond_trials`."""
    pairs = (
        ("gpu_hours", limits.gpu_hours, spent.gpu_hours, f"{spent.gpu_hours:.3g} GPU-hours"),
        ("cpu_hours", limits.cpu_hours, spent.cpu_hours, f"{spent.cpu_hours:.3g} CPU-hours"),
        ("wall", limits.wall_s, spent.wall_s, f"{spent.wall_s:.0f} s"),
    )
    for name, limit, used, words in pairs:
        if limit is not None and used >= limit:
            allowed = limits.wall if name == "wall" else f"{limit:g}"
            return f"budget.{name} = {allowed} is spent ({words})"
    return ""


def forbids_start(limits: BudgetConfig) -> str:
    """Why nothing at all may start, in words; empty: something may."""
    if limits.trials == 0:
        return "budget.trials = 0 allows none"
    return exhausted(limits, Spent(0.0, 0.0, 0.0))


def without_effect(limits: BudgetConfig, shapes: Mapping[str, Resources]) -> str:
    """Which limit limits nothing, in words; empty: none.

    Args:
        limits: Of the run.
        shapes: Stage -> resources of its trials.
    """
    if limits.gpu_hours is None or not shapes or any(shape.gpu for shape in shapes.values()):
        return ""
    return "no stage asks for a GPU: budget.gpu_hours limits nothing here, budget.cpu_hours would"


def beyond_trials(plan: Plan, n_trials: int | None) -> frozenset[str]:
    """Nodes to build that only targets beyond the first ``n_trials`` missing ones need.

    Targets count in the order of the grid; what they need is not counted.

    Args:
        plan: What is to be built.
        n_trials: Target nodes that may be started; None: all.
    """
    if n_trials is None:
        return frozenset()
    to_build = {node.key: node for node in plan.to_build}
    waiting = [key for key in plan.sweep.targets if key in to_build][:n_trials]
    wanted: set[str] = set()
    while waiting:
        key = waiting.pop()
        if key in to_build and key not in wanted:
            wanted.add(key)
            waiting += [parent for _, parent in to_build[key].parents]
    return frozenset(to_build.keys() - wanted)
