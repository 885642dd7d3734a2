"""A configuration of a search in the course of a run: its target nodes, and its results from their records.

It stands between the studies, which hold values, and the ledger, which holds nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import HOUR_S, ObjectiveConfig
from dwp_sweep.harness.dag.resources import Resources
from dwp_sweep.stages.contract import WARM_UP_EPOCHS
from dwp_sweep.store.record import Record


@dataclass
class SearchConfiguration:
    """One trial of a study.

    Attributes:
        study: Name of its study.
        number: Of its trial there.
        values: By dotted key.
        nodes: Its target nodes, one for each repeat.
        n_started: Repeats that are on the ledger.
        n_tested: Repeats after which it was compared with the best one.
    """

    study: str
    number: int
    values: Mapping[str, Any]
    nodes: tuple[Node, ...]
    n_started: int = 0
    n_tested: int = 0
    keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = tuple(node.key for node in self.nodes)

    @property
    def started(self) -> tuple[Node, ...]:
        """The repeats that are on the ledger."""
        return self.nodes[: self.n_started]

    @property
    def title(self) -> str:
        """``trial 3 of hippo/train_size=5``."""
        return f"trial {self.number} of {self.study}"


@dataclass(frozen=True)
class Member:
    """Whose target node a node is.

    Attributes:
        study: Name of the study.
        repeat: Which repeat of its configuration: only equal repeats are compared.
    """

    study: str
    repeat: int


def results(
    objectives: Sequence[ObjectiveConfig], records: Sequence[Record], resources: Resources
) -> tuple[float, ...] | None:
    """The objectives of a configuration whose repeats are all done; None where a record lacks a metric.

    Args:
        objectives: Of the search.
        records: Of its target nodes.
        resources: Resources of one of them.
    """
    means = []
    for objective in objectives:
        values = [value_of(objective, record, resources) for record in records]
        present = [value for value in values if value is not None]
        if len(present) < len(values):
            return None
        means.append(sum(present) / len(present))
    return tuple(means)


def value_of(objective: ObjectiveConfig, record: Record, resources: Resources) -> float | None:
    """One objective of one network; of its best epoch where the metric has one."""
    hours = record.wall_s / HOUR_S
    gpu = 0.0 if record.device == "cpu" else resources.gpu
    # Without GPUs their hours would be 0: those of the CPUs are taken.
    costs = {
        "wall_s": record.wall_s,
        "hours": hours,
        "cpu_hours": hours * resources.cpu,
        "gpu_hours": hours * (gpu or resources.cpu),
    }
    if objective.metric in costs:
        return costs[objective.metric]
    return record.metrics.get(f"best_{objective.metric}", record.metrics.get(objective.metric))


def best_so_far(objective: ObjectiveConfig, record: Record) -> list[tuple[int, float]]:
    """(epoch, best value up to it) of one network, from its history.

    Epochs without the metric are skipped, and those of a warm-up, which are no candidates for the best one.
    """
    better = max if objective.mode == "max" else min
    curve: list[tuple[int, float]] = []
    for point in record.history:
        if point.step <= point.metrics.get(WARM_UP_EPOCHS, 0.0):
            continue
        if (value := point.metrics.get(objective.metric)) is not None:
            curve.append((point.step, better(value, curve[-1][1]) if curve else value))
    return curve


def learning_points(objective: ObjectiveConfig, records: Sequence[Record]) -> dict[int, float]:
    """Epochs of all repeats together -> mean over the repeats of the best value so far.

    Args:
        objective: The only one.
        records: Of the repeats that were begun, in their order.
    """
    points: dict[int, float] = {}
    n_epochs = 0
    ended: list[float] = []
    for record in records:
        curve = best_so_far(objective, record)
        if not curve:
            continue
        points |= {n_epochs + step: (sum(ended) + value) / (len(ended) + 1) for step, value in curve}
        n_epochs += curve[-1][0]
        ended.append(curve[-1][1])
    return points
