"""What a plan costs: hours of CPUs and GPUs with their spread, and how long it takes on so many slots.

Durations are those of `past_runs`, else by the bench (`step_rates`), else unknown, and said to be. What a
search has yet to ask for is drawn at random (`search_sample`).
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import HOUR_S
from dwp_sweep.harness.cost.durations import Duration, Durations
from dwp_sweep.harness.cost.past_runs import PastRuns
from dwp_sweep.harness.cost.simulation import Schedule, list_schedule
from dwp_sweep.harness.dag.budget import Pool, beyond_trials, forbids_start, without_effect
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.slots import Resources, resources_of
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.read.durations import has_mlflow, logged_durations

if TYPE_CHECKING:
    from dwp_sweep.harness.cost.search_sample import SearchGuess
    from dwp_sweep.harness.cost.step_rates import StepRates


@dataclass(frozen=True)
class Range:
    """A sum of estimates, and the sums of their shortest and longest cases."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class StageCost:
    """What one stage of a plan costs.

    Attributes:
        stage: The stage.
        n_to_build: Nodes that a run would build.
        n_unknown: Those for which no node like them was ever measured; the hours are without them.
        n_by_bench: Those known from the bench's training step only, as if none stopped early.
        cpu_hours: Of the known ones; None where none is known.
        gpu_hours: The same for GPUs.
    """

    stage: str
    n_to_build: int
    n_unknown: int
    cpu_hours: Range | None
    gpu_hours: Range | None
    n_by_bench: int = 0


@dataclass(frozen=True)
class PlanCost:
    """What a plan costs.

    Attributes:
        stages: In the order of the pipeline.
        slots: In words, e.g. ``2 CPUs``.
        makespan_s: Expected seconds from start to end; of the known nodes alone where some are unknown.
        critical_path_s: The longest chain: no number of slots is faster.
        n_unknown: Nodes whose duration is unknown.
        cut: Stage -> nodes that the budget would keep from starting; empty: none.
        cut_by: The limit that cuts, as a key of the search space; empty: none.
        n_configurations: Of a search: configurations that are still to come, as if none were given up early;
            everything is then an estimate.
        n_drawn: Configurations drawn at random in their place.
        note: A limit of the budget that limits nothing on this machine, in words; empty: none.
    """

    stages: tuple[StageCost, ...]
    slots: str
    makespan_s: float
    critical_path_s: float
    n_unknown: int
    cut: Mapping[str, int]
    cut_by: str
    n_configurations: int = 0
    n_drawn: int = 0
    note: str = ""


def plan_cost(
    plan: Plan, store: Store, n_slots: int | None = None, tracking_uri: str | None = None
) -> PlanCost:
    """What the nodes that a plan would build cost.

    Args:
        plan: From `make_plan`.
        store: Holds the past runs.
        n_slots: Nodes at once, whatever they ask for; None: as the resources of this machine allow.
        tracking_uri: MLflow's, asked where the store lacks durations; None: ``MLFLOW_TRACKING_URI``, else the
            database under the store, if any.
    """
    if plan.sweep.search is None:
        return _cost(plan, store, n_slots, tracking_uri)
    from dwp_sweep.harness.cost.search_sample import guess_search  # imports optuna: for searches only

    guess = guess_search(plan.sweep, store)
    if guess is None:
        return _cost(plan, store, n_slots, tracking_uri)
    return _of_search(guess, plan.sweep.search.distributions, store, n_slots, tracking_uri)


def _of_search(
    guess: SearchGuess,
    searched: Iterable[str],
    store: Store,
    n_slots: int | None,
    tracking_uri: str | None,
) -> PlanCost:
    """The cost of a sample times what it stands for; the budget is shared out alike."""
    factor = guess.factor
    names = frozenset(key.rpartition(".")[-1] for key in searched)
    cost = _cost(guess.plan, store, n_slots, tracking_uri, names, 1.0 / factor if factor else 1.0)
    stages = tuple(
        replace(
            row,
            n_to_build=round(row.n_to_build * factor),
            n_unknown=round(row.n_unknown * factor),
            n_by_bench=round(row.n_by_bench * factor),
            cpu_hours=_times(row.cpu_hours, factor),
            gpu_hours=_times(row.gpu_hours, factor),
        )
        for row in cost.stages
    )
    return replace(
        cost,
        stages=stages,
        makespan_s=cost.makespan_s * max(factor, 1.0),
        n_unknown=round(cost.n_unknown * factor),
        cut={stage: round(n * factor) for stage, n in cost.cut.items()},
        n_configurations=guess.n_to_come,
        n_drawn=guess.n_drawn,
    )


def _cost(
    plan: Plan,
    store: Store,
    n_slots: int | None,
    tracking_uri: str | None,
    apart_from: frozenset[str] = frozenset(),
    share: float = 1.0,
) -> PlanCost:
    nodes = plan.to_build
    stages = [row.stage for row in plan.by_stage()]
    machine = this_machine()
    resources = {stage: resources_of(stage, plan.sweep.resources, machine.gpu > 0) for stage in stages}
    durations = _durations(stages, resources, store, tracking_uri, apart_from)
    known = {node.key: durations.known(node) for node in nodes}
    seconds = {key: found.mean_s if found else 0.0 for key, found in known.items()}
    whole = _scheduled(nodes, seconds, resources, machine, n_slots)
    cut, cut_by = _cut(plan, seconds, resources, machine, n_slots, share)
    return PlanCost(
        stages=tuple(_stage_cost(stage, nodes, known, resources[stage]) for stage in stages),
        slots=_words(machine, n_slots),
        makespan_s=whole.end_s,
        critical_path_s=whole.critical_path_s,
        n_unknown=sum(found is None for found in known.values()),
        cut=cut,
        cut_by=cut_by,
        note=without_effect(plan.sweep.budget, resources),
    )


def _durations(
    stages: Sequence[str],
    resources: Mapping[str, Resources],
    store: Store,
    tracking_uri: str | None,
    apart_from: frozenset[str],
) -> Durations:
    """By the storage's records, else MLflow's or those of other sizes, else the bench; each read on need."""
    past = PastRuns.from_store(store, sorted(stages))

    @functools.cache
    def n_logged(stage: str) -> int:
        if not has_mlflow(tracking_uri, store.root):
            return 0
        runs = logged_durations([stage], tracking_uri, store.root)
        for run in runs:
            past.add_logged(*run)
        return len(runs)

    def logged_or_alike(node: Node) -> Duration | None:
        is_more_known = n_logged(node.stage) or apart_from
        return past.duration(node.stage, node.config, apart_from) if is_more_known else None

    @functools.cache
    def rates() -> StepRates:
        from dwp_sweep.harness.cost.step_rates import StepRates  # imports torch

        return StepRates.kept()

    def by_bench(node: Node) -> Duration | None:
        return rates().duration(node, resources[node.stage])

    return Durations([past.of, logged_or_alike, by_bench])


def this_machine() -> Resources:
    """What Ray would find here: cores, and NVIDIA devices that are not hidden."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        n_gpus = len([one for one in visible.split(",") if one.strip() and one.strip() != "-1"])
    else:
        n_gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return Resources(float(os.cpu_count() or 1), float(n_gpus))


def _stage_cost(
    stage: str, nodes: Iterable[Node], known: Mapping[str, Duration | None], resources: Resources
) -> StageCost:
    own = [known[node.key] for node in nodes if node.stage == stage]
    found = [one for one in own if one is not None]
    return StageCost(
        stage=stage,
        n_to_build=len(own),
        n_unknown=len(own) - len(found),
        n_by_bench=sum(one.n == 0 for one in found),
        cpu_hours=_hours(found, resources.cpu),
        gpu_hours=_hours(found, resources.gpu),
    )


def _hours(found: list[Duration], amount: float) -> Range | None:
    if not found:
        return None
    sums = [math.fsum(values) for values in zip(*((d.mean_s, d.low_s, d.high_s) for d in found), strict=True)]
    return Range(*(amount * total / HOUR_S for total in sums))


def _scheduled(
    nodes: Iterable[Node],
    seconds: Mapping[str, float],
    resources: Mapping[str, Resources],
    machine: Resources,
    n_slots: int | None,
    pool: Pool | None = None,
) -> Schedule:
    if n_slots is not None:
        machine, taken = Resources(float(n_slots), 0.0), {stage: Resources(1.0, 0.0) for stage in resources}
    else:
        # What fits on no machine here waits for a cluster; it is scheduled as if it took all there is.
        taken = {s: Resources(min(a.cpu, machine.cpu), min(a.gpu, machine.gpu)) for s, a in resources.items()}
    return list_schedule(list(nodes), seconds, taken, machine, pool)


def _cut(
    plan: Plan,
    seconds: Mapping[str, float],
    resources: Mapping[str, Resources],
    machine: Resources,
    n_slots: int | None,
    share: float,
) -> tuple[dict[str, int], str]:
    budget = plan.sweep.budget
    if not budget.is_limited:
        return {}, ""
    held = plan.to_build if forbids_start(budget) else ()
    beyond = beyond_trials(plan, None if budget.trials is None else round(budget.trials * share))
    held = held or tuple(node for node in plan.to_build if node.key in beyond)
    pool = Pool.of(budget, resources, share)
    left_out = {node.key for node in held}
    started = [node for node in plan.to_build if node.key not in left_out]
    limited = _scheduled(started, seconds, resources, machine, n_slots, pool)
    cut = [*held, *(node for node in started if node.key not in limited.starts)]
    counts: dict[str, int] = {}
    for node in cut:
        counts[node.stage] = counts.get(node.stage, 0) + 1
    reason = forbids_start(budget).partition(" ")[0] or limited.stopped_by
    return counts, (reason or "budget.trials") if cut else ""


def _times(found: Range | None, factor: float) -> Range | None:
    return found and Range(found.mean * factor, found.low * factor, found.high * factor)


def _words(machine: Resources, n_slots: int | None) -> str:
    if n_slots is not None:
        return f"{n_slots} slot" + ("s" if n_slots != 1 else "")
    gpus = f" and {machine.gpu:g} GPU{'s' if machine.gpu != 1 else ''}" if machine.gpu else ""
    return f"{machine.cpu:g} CPU{'s' if machine.cpu != 1 else ''}{gpus}"
