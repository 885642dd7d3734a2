"""What a plan costs: hours of CPUs and GPUs with their spread, and how long it takes on so many slots.

Durations come from past runs (`PastRuns`), else from the bench (`step_rates`), else they are unknown and
counted as such. Random configurations (`search_sample`) stand for those that a search has yet to ask for.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import HOUR_S
from dwp_sweep.harness.cost.durations import Duration, Durations, PastRuns
from dwp_sweep.harness.cost.simulation import Limit, Schedule, list_schedule
from dwp_sweep.harness.dag.budget import (
    beyond_trials,
    forbids_start,
    hours_spent,
    limit_reached,
    without_effect,
)
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.resources import Resources, resources_of, this_machine
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.read.runs import has_mlflow, logged_durations

if TYPE_CHECKING:
    from dwp_sweep.harness.cost.step_rates import StepRates


@dataclass(frozen=True)
class Range:
    """A sum of estimates, and the sums of their shortest and longest cases."""

    mean: float
    low: float
    high: float

    def times(self, factor: float) -> Range:
        """Of so many times as much work."""
        return Range(self.mean * factor, self.low * factor, self.high * factor)


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

    def times(self, factor: float) -> StageCost:
        """Of so many times as many nodes."""
        return StageCost(
            stage=self.stage,
            n_to_build=round(self.n_to_build * factor),
            n_unknown=round(self.n_unknown * factor),
            cpu_hours=self.cpu_hours and self.cpu_hours.times(factor),
            gpu_hours=self.gpu_hours and self.gpu_hours.times(factor),
            n_by_bench=round(self.n_by_bench * factor),
        )


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
    search = plan.sweep.search
    if search is None:
        return _cost(plan, store, n_slots, tracking_uri)
    from dwp_sweep.harness.cost.search_sample import guess_search  # imports optuna: for searches only

    guess = guess_search(plan.sweep, store)
    if guess is None:
        return _cost(plan, store, n_slots, tracking_uri)
    # The cost of a sample times what it stands for; the sample gets its share of the budget.
    factor = guess.factor
    names = frozenset(key.rpartition(".")[-1] for key in search.distributions)
    cost = _cost(guess.plan, store, n_slots, tracking_uri, names, 1.0 / factor if factor else 1.0)
    return replace(
        cost,
        stages=tuple(stage.times(factor) for stage in cost.stages),
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
    machine = this_machine()
    resources = {
        row.stage: resources_of(row.stage, plan.sweep.resources, machine.gpu > 0) for row in plan.by_stage()
    }
    durations = _durations(resources, store, tracking_uri, apart_from)
    known = {node.key: durations.known(node) for node in nodes}
    seconds = {key: duration.mean_s if duration else 0.0 for key, duration in known.items()}
    slots = _words(machine)
    # What fits on no machine here waits for a cluster; it is scheduled as if it took all there is.
    taken = {s: Resources(min(a.cpu, machine.cpu), min(a.gpu, machine.gpu)) for s, a in resources.items()}
    if n_slots is not None:
        slots = f"{n_slots} slot{'' if n_slots == 1 else 's'}"
        machine, taken = Resources(float(n_slots), 0.0), dict.fromkeys(resources, Resources(1.0, 0.0))

    def schedule(to_start: Sequence[Node], limit: Limit) -> Schedule:
        return list_schedule(to_start, seconds, taken, machine, limit)

    whole = list_schedule(nodes, seconds, taken, machine)
    cut, cut_by = _cut(plan, resources, share, schedule)
    return PlanCost(
        stages=tuple(
            _stage_cost(stage, [known[node.key] for node in nodes if node.stage == stage], needed)
            for stage, needed in resources.items()
        ),
        slots=slots,
        makespan_s=whole.end_s,
        critical_path_s=whole.critical_path_s,
        n_unknown=sum(duration is None for duration in known.values()),
        cut=cut,
        cut_by=cut_by,
        note=without_effect(plan.sweep.budget, resources),
    )


def _durations(
    resources: Mapping[str, Resources], store: Store, tracking_uri: str | None, apart_from: frozenset[str]
) -> Durations:
    """By the storage's records, else MLflow's or those of other sizes, else the bench; each read on need."""
    past = PastRuns.from_store(store, sorted(resources))

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

    return Durations([past.of, logged_or_alike, lambda node: rates().duration(node, resources[node.stage])])


def _stage_cost(stage: str, durations: Collection[Duration | None], resources: Resources) -> StageCost:
    known = [duration for duration in durations if duration is not None]
    hours = None
    if known:
        cases = zip(*((d.mean_s, d.low_s, d.high_s) for d in known), strict=True)
        hours = Range(*(math.fsum(seconds) / HOUR_S for seconds in cases))
    return StageCost(
        stage=stage,
        n_to_build=len(durations),
        n_unknown=len(durations) - len(known),
        n_by_bench=sum(duration.n == 0 for duration in known),
        cpu_hours=hours and hours.times(resources.cpu),
        gpu_hours=hours and hours.times(resources.gpu),
    )


def _cut(
    plan: Plan,
    resources: Mapping[str, Resources],
    share: float,
    schedule: Callable[[Sequence[Node], Limit], Schedule],
) -> tuple[dict[str, int], str]:
    """Stage -> nodes that the budget keeps from starting, and the limit that does."""
    budget = plan.sweep.budget
    if not budget.is_limited:
        return {}, ""
    forbidden = forbids_start(budget).partition(" ")[0]
    beyond = beyond_trials(plan, None if budget.trials is None else round(budget.trials * share))
    allowed = [] if forbidden else [node for node in plan.to_build if node.key not in beyond]
    limited = schedule(
        allowed, lambda wall_s, seconds: limit_reached(budget, hours_spent(seconds, resources, wall_s), share)
    )
    cut = Counter(node.stage for node in plan.to_build if node.key not in limited.starts)
    return dict(cut), (forbidden or limited.stopped_by or "budget.trials") if cut else ""


def _words(machine: Resources) -> str:
    gpus = f" and {machine.gpu:g} GPU{'s' if machine.gpu != 1 else ''}" if machine.gpu else ""
    return f"{machine.cpu:g} CPU{'s' if machine.cpu != 1 else ''}{gpus}"
