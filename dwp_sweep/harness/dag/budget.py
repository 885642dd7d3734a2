"""When a budget is spent: nothing more starts, running nodes go on to their end or leave.

A budget is that of one run of the command; what was built before costs nothing, so the same command
goes on with a fresh one. A run asks at every step, and so does a simulation of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dwp_sweep.config.sections import HOUR_S, BudgetConfig
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.resources import Resources


@dataclass(frozen=True)
class Spent:
    """What a run has used.

    Attributes:
        cpu_hours: CPU slots x hours of all trials, running ones up to now.
        gpu_hours: The same with their shares of GPUs.
        wall_s: Seconds since its machines were ready.
    """

    cpu_hours: float
    gpu_hours: float
    wall_s: float


def hours_spent(seconds: Mapping[str, float], resources: Mapping[str, Resources], wall_s: float) -> Spent:
    """What trials have used.

    Args:
        seconds: Stage -> seconds of its trials up to now, running ones included.
        resources: Stage -> resources of its trials; a stage that is not named is not paid for.
        wall_s: Seconds since the machines were ready.
    """
    used = {stage: used_s for stage, used_s in seconds.items() if stage in resources}
    return Spent(
        cpu_hours=sum(resources[stage].cpu * used_s for stage, used_s in used.items()) / HOUR_S,
        gpu_hours=sum(resources[stage].gpu * used_s for stage, used_s in used.items()) / HOUR_S,
        wall_s=wall_s,
    )


def limit_reached(budget: BudgetConfig, spent: Spent, share: float = 1.0) -> str:
    """The limit that is reached, as a dotted key; empty: none. `beyond_trials` decides on ``trials``.

    Args:
        budget: What may be spent.
        spent: What is.
        share: Share of the budget that counts.
    """
    pairs = (
        ("budget.gpu_hours", budget.gpu_hours, spent.gpu_hours),
        ("budget.cpu_hours", budget.cpu_hours, spent.cpu_hours),
        ("budget.wall", budget.wall_s, spent.wall_s),
    )
    return next((key for key, limit, used in pairs if limit is not None and used >= limit * share), "")


def exhausted(budget: BudgetConfig, spent: Spent) -> str:
    """Which limit is reached, in words; empty: none."""
    match limit_reached(budget, spent):
        case "budget.gpu_hours":
            return f"budget.gpu_hours = {budget.gpu_hours:g} is spent ({spent.gpu_hours:.3g} GPU-hours)"
        case "budget.cpu_hours":
            return f"budget.cpu_hours = {budget.cpu_hours:g} is spent ({spent.cpu_hours:.3g} CPU-hours)"
        case "budget.wall":
            return f"budget.wall = {budget.wall} is spent ({spent.wall_s:.0f} s)"
    return ""


def forbids_start(budget: BudgetConfig) -> str:
    """Why nothing at all may start, in words; empty: something may."""
    if budget.trials == 0:
        return "budget.trials = 0 allows none"
    return exhausted(budget, Spent(0.0, 0.0, 0.0))


def without_effect(budget: BudgetConfig, resources: Mapping[str, Resources]) -> str:
    """Which limit limits nothing, in words; empty: none.

    Args:
        budget: Of the run.
        resources: Stage -> resources of its trials.
    """
    if budget.gpu_hours is None or not resources or any(needed.gpu for needed in resources.values()):
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
