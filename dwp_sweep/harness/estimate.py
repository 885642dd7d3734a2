"""How long nodes take: guesses at first, measured means as soon as there are any.

Feeds the priority of the critical path and the time left. Knows nothing of what the stages compute.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from dwp_sweep.config.node import Node
from dwp_sweep.store.store import Store

GUESSED_S = {"source": 60.0, "harvest": 2.0, "prior": 15.0, "target": 20.0}
"""Relative sizes of the stages before anything is measured; only their ratios matter."""

PastSeconds = Callable[[Node], float | None]
"""Seconds that nodes of the same stage and size took in the past; None where none did."""


class Estimate:
    """Mean duration by kind (stage, method, training size); else of the past; else by stage; else guesses.

    Args:
        past: Seconds of nodes of the same size in whatever sweep.
    """

    def __init__(self, past: PastSeconds | None = None) -> None:
        self._past = past
        self._from_past: dict[str, float | None] = {}
        self._kinds: defaultdict[tuple[object, ...], list[float]] = defaultdict(list)
        self._stages: defaultdict[str, list[float]] = defaultdict(list)

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
        self._kinds[_kind(node)].append(wall_s)
        self._stages[node.stage].append(wall_s)

    def seconds(self, node: Node) -> float:
        """Expected seconds of work of a node; positive."""
        known = self._kinds.get(_kind(node))
        if not known and (past := self._past_seconds(node)) is not None:
            return max(past, 0.01)
        known = known or self._stages.get(node.stage)
        if known:
            return max(_mean(known), 0.01)
        return GUESSED_S.get(node.stage, 10.0) * self._scale()

    def _past_seconds(self, node: Node) -> float | None:
        if self._past is None:
            return None
        if node.key not in self._from_past:  # asked at every refresh of a display, for every open node
            self._from_past[node.key] = self._past(node)
        return self._from_past[node.key]

    def _scale(self) -> float:
        ratios = [_mean(values) / GUESSED_S.get(stage, 10.0) for stage, values in list(self._stages.items())]
        return max(_mean(ratios), 1e-3) if ratios else 1.0


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


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
