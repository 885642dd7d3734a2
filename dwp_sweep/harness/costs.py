"""What a plan costs: hours of CPUs and GPUs with their spread, and how long it takes on so many slots.

Durations come from the records of past runs of the same stage and size, of whatever sweep; where there
are none the answer is that it is unknown. Reads the store only; knows nothing of Ray.
"""

from __future__ import annotations

import math
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.harness.budget import beyond_trials, forbids_start
from dwp_sweep.harness.plan import Plan
from dwp_sweep.harness.schedule import Pool, Schedule, list_schedule
from dwp_sweep.harness.slots import Shape, shape_of
from dwp_sweep.store.record import read_record
from dwp_sweep.store.store import RECORD, Store

_HOUR_S = 3600.0
_N_READ = 400
"""Newest records that are read of each stage: enough for a mean, and quick."""
_SIZES = frozenset(
    {
        "method",
        "train_size",
        "group",
        "channels",
        "shape",
        "subjects",
        "max_epochs",
        "steps_per_epoch",
        "n_epochs",
        "epoch_s",
        "batch_size",
        "n_cycles",
        "n_seeds",
        "n_subjects",
        "latent_dim",
        "n_components",
        "n_samples",
        "patience",
        "precision",
    }
)
"""Last parts of the settings that decide how much work a node is."""


@dataclass(frozen=True)
class Duration:
    """Seconds of past nodes of one kind.

    Attributes:
        mean_s: Arithmetic mean.
        low_s: Shortest.
        high_s: Longest.
        n: How many there were.
    """

    mean_s: float
    low_s: float
    high_s: float
    n: int


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
        n_unknown: Those of them whose like was never measured; the hours are without them.
        cpu_hours: Of the known ones; None where none is known.
        gpu_hours: The same for GPUs.
    """

    stage: str
    n_to_build: int
    n_unknown: int
    cpu_hours: Range | None
    gpu_hours: Range | None


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
    """

    stages: tuple[StageCost, ...]
    slots: str
    makespan_s: float
    critical_path_s: float
    n_unknown: int
    cut: Mapping[str, int]
    cut_by: str


class PastRuns:
    """Durations of published nodes by stage and size."""

    def __init__(self) -> None:
        self._known: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)

    @classmethod
    def from_store(cls, store: Store, stages: Iterable[str]) -> PastRuns:
        """What a storage knows of some stages: the newest nodes of whatever sweep."""
        past = cls()
        for stage in stages:
            for folder in _newest(store.root / stage):
                try:
                    record = read_record(folder / RECORD)
                except (OSError, ValueError):
                    continue
                past.add(stage, record.config, record.wall_s)
        return past

    def add(self, stage: str, config: Mapping[str, Any], wall_s: float) -> None:
        """Take in a node that took ``wall_s`` seconds."""
        self._known[size_of(stage, config)].append(wall_s)

    def seconds(self, node: Node) -> float | None:
        """Mean seconds of nodes like this one; None where none was measured."""
        found = self.duration(node.stage, node.config)
        return found.mean_s if found else None

    def duration(self, stage: str, config: Mapping[str, Any]) -> Duration | None:
        """Of nodes of the same stage and size; None where none was measured."""
        found = self._known.get(size_of(stage, config))
        if not found:
            return None
        return Duration(statistics.fmean(found), min(found), max(found), len(found))


def size_of(stage: str, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells how much work a node is: equal for nodes that should take equally long."""
    return (stage, *_sizes(config, ""))


def plan_cost(plan: Plan, store: Store, n_slots: int | None = None) -> PlanCost:
    """What the nodes that a plan would build cost.

    Args:
        plan: From `make_plan`.
        store: Holds the past runs.
        n_slots: Nodes at once, whatever they ask for; None: as the resources of this machine allow.
    """
    nodes = plan.to_build
    stages = [row.stage for row in plan.by_stage()]
    past = PastRuns.from_store(store, stages)
    known = {node.key: past.duration(node.stage, node.config) for node in nodes}
    machine = this_machine()
    shapes = {stage: shape_of(stage, plan.sweep.resources, machine.gpu > 0) for stage in stages}
    seconds = {key: found.mean_s if found else 0.0 for key, found in known.items()}
    whole = _scheduled(nodes, seconds, shapes, machine, n_slots)
    cut, cut_by = _cut(plan, seconds, shapes, machine, n_slots)
    return PlanCost(
        stages=tuple(_stage_cost(stage, nodes, known, shapes[stage]) for stage in stages),
        slots=_words(machine, n_slots),
        makespan_s=whole.end_s,
        critical_path_s=whole.critical_path_s,
        n_unknown=sum(found is None for found in known.values()),
        cut=cut,
        cut_by=cut_by,
    )


def this_machine() -> Shape:
    """What Ray would find here: cores, and NVIDIA devices that are not hidden."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        n_gpus = len([one for one in visible.split(",") if one.strip() and one.strip() != "-1"])
    else:
        n_gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return Shape(float(os.cpu_count() or 1), float(n_gpus))


def _newest(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        found = [(entry.stat().st_mtime, entry.path) for entry in entries if not entry.name.startswith(".")]
    return [Path(path) for _, path in sorted(found, reverse=True)[:_N_READ]]


def _sizes(config: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in sorted(config):
        value = config[name]
        if isinstance(value, Mapping):
            found += _sizes(value, f"{prefix}{name}.")
        elif name in _SIZES:
            found.append((f"{prefix}{name}", str(value)))
    return found


def _stage_cost(
    stage: str, nodes: Iterable[Node], known: Mapping[str, Duration | None], shape: Shape
) -> StageCost:
    own = [known[node.key] for node in nodes if node.stage == stage]
    found = [one for one in own if one is not None]
    return StageCost(
        stage=stage,
        n_to_build=len(own),
        n_unknown=len(own) - len(found),
        cpu_hours=_hours(found, shape.cpu),
        gpu_hours=_hours(found, shape.gpu),
    )


def _hours(found: list[Duration], amount: float) -> Range | None:
    if not found:
        return None
    sums = [math.fsum(values) for values in zip(*((d.mean_s, d.low_s, d.high_s) for d in found), strict=True)]
    return Range(*(amount * total / _HOUR_S for total in sums))


def _scheduled(
    nodes: Iterable[Node],
    seconds: Mapping[str, float],
    shapes: Mapping[str, Shape],
    machine: Shape,
    n_slots: int | None,
    pool: Pool | None = None,
) -> Schedule:
    if n_slots is not None:
        machine, taken = Shape(float(n_slots), 0.0), {stage: Shape(1.0, 0.0) for stage in shapes}
    else:
        # What fits on no machine here waits for a cluster; it is scheduled as if it took all there is.
        taken = {s: Shape(min(a.cpu, machine.cpu), min(a.gpu, machine.gpu)) for s, a in shapes.items()}
    return list_schedule(list(nodes), seconds, taken, machine, pool)


def _cut(
    plan: Plan,
    seconds: Mapping[str, float],
    shapes: Mapping[str, Shape],
    machine: Shape,
    n_slots: int | None,
) -> tuple[dict[str, int], str]:
    budget = plan.sweep.budget
    if not budget.is_limited:
        return {}, ""
    held = plan.to_build if forbids_start(budget) else ()
    beyond = beyond_trials(plan, budget.trials)
    held = held or tuple(node for node in plan.to_build if node.key in beyond)
    pool = Pool(shapes, budget.cpu_hours, budget.gpu_hours, budget.wall_s)
    left_out = {node.key for node in held}
    started = [node for node in plan.to_build if node.key not in left_out]
    limited = _scheduled(started, seconds, shapes, machine, n_slots, pool)
    cut = [*held, *(node for node in started if node.key not in limited.starts)]
    counts: dict[str, int] = {}
    for node in cut:
        counts[node.stage] = counts.get(node.stage, 0) + 1
    reason = forbids_start(budget).partition(" ")[0] or limited.stopped_by
    return counts, (reason or "budget.trials") if cut else ""


def _words(machine: Shape, n_slots: int | None) -> str:
    if n_slots is not None:
        return f"{n_slots} slot" + ("s" if n_slots != 1 else "")
    gpus = f" and {machine.gpu:g} GPU{'s' if machine.gpu != 1 else ''}" if machine.gpu else ""
    return f"{machine.cpu:g} CPU{'s' if machine.cpu != 1 else ''}{gpus}"
