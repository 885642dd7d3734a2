"""How long nodes take: guesses at first, measured means as soon as there are any.

Feeds the priority of the critical path and the time left. Knows nothing of what the stages compute.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

from dwp_sweep.config.node import Node
from dwp_sweep.store.store import Store

GUESSED_S = {"source": 60.0, "harvest": 2.0, "prior": 15.0, "target": 20.0}
"""Relative sizes of the stages before anything is measured; only their ratios matter."""

PastSeconds = Callable[[Node], float | None]
"""Seconds that nodes of the same stage and size took in the past; None where none did."""


class _Mean:
    """A running mean: asked for every node whenever nodes are ranked again."""

    def __init__(self) -> None:
        self._total, self._n = 0.0, 0

    def add(self, value: float) -> None:
        self._total, self._n = self._total + value, self._n + 1

    @property
    def value(self) -> float:
        return self._total / self._n


class Estimate:
    """Mean duration by kind (stage, method, training size); else of the past; else by stage; else guesses.

    Of a kind that was not measured yet, the mean of its stage counts times what its method and its size are
    to that mean as far as they were: a method's small networks foretell its large ones.

    Args:
        past: Seconds of nodes of the same size in whatever sweep.
    """

    def __init__(self, past: PastSeconds | None = None) -> None:
        self._past = past
        self._from_past: dict[str, float | None] = {}
        self._kinds: defaultdict[tuple[object, ...], _Mean] = defaultdict(_Mean)
        self._traits: defaultdict[tuple[object, ...], _Mean] = defaultdict(_Mean)
        self._stages: defaultdict[str, _Mean] = defaultdict(_Mean)

    @classmethod
    def from_store(cls, nodes: Iterable[Node], store: Store) -> Estimate:
        """An estimate that starts from the records of published nodes."""
        estimate = cls()
        for node in nodes:
            record = store.record(node.stage, node.key) if store.is_published(node.stage, node.key) else None
            if record is not None:
                estimate.observe(node, record.wall_s)
        return estimate

    @property
    def is_measured(self) -> bool:
        """Whether any node has been measured, here or in the past."""
        return bool(self._stages) or any(self._from_past.values())

    def observe(self, node: Node, wall_s: float) -> None:
        """Take in how long a node took, in seconds."""
        self._kinds[_kind(node)].add(wall_s)
        self._stages[node.stage].add(wall_s)
        for trait in _traits(node):
            self._traits[trait].add(wall_s)

    def seconds(self, node: Node) -> float:
        """Expected seconds of work of a node; positive."""
        known = self._kinds.get(_kind(node))
        if known:
            return max(known.value, 0.01)
        if (past := self._past_seconds(node)) is not None:
            return max(past, 0.01)
        stage = self._stages.get(node.stage)
        if stage is None:
            return GUESSED_S.get(node.stage, 10.0) * self._scale()
        return max(self._by_traits(node, stage.value), 0.01)

    def _by_traits(self, node: Node, mean_s: float) -> float:
        found = [self._traits[trait].value for trait in _traits(node) if trait in self._traits]
        return mean_s * math.prod(value / mean_s for value in found) if mean_s > 0 else 0.0

    def _past_seconds(self, node: Node) -> float | None:
        if self._past is None:
            return None
        if node.key not in self._from_past:  # asked at every refresh of a display, for every open node
            self._from_past[node.key] = self._past(node)
        return self._from_past[node.key]

    def _scale(self) -> float:
        ratios = [one.value / GUESSED_S.get(stage, 10.0) for stage, one in list(self._stages.items())]
        return max(sum(ratios) / len(ratios), 1e-3) if ratios else 1.0


def critical_path(nodes: Iterable[Node], estimate: Estimate) -> dict[str, float]:
    """Key -> seconds from the node's start to the end of its longest chain of descendants.

    Args:
        nodes: Parents before children.
        estimate: Expected durations.
    """
    ordered = list(nodes)
    below: defaultdict[str, float] = defaultdict(float)
    lengths: dict[str, float] = {}
    for node in reversed(ordered):
        lengths[node.key] = estimate.seconds(node) + below[node.key]
        for _, parent in node.parents:
            below[parent] = max(below[parent], lengths[node.key])
    return lengths


def _kind(node: Node) -> tuple[object, ...]:
    return node.stage, node.labels.get("method"), node.labels.get("train_size")


def _traits(node: Node) -> list[tuple[object, ...]]:
    """Its method and its training size, each alone."""
    names = ("method", "train_size")
    return [(node.stage, name, node.labels[name]) for name in names if node.labels.get(name) is not None]
