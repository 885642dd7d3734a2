"""How long nodes of the same stage and size took before, whatever sweep they were of.

What estimates of money and time rest on. Reads records only; nothing measured means unknown.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.stages.workload import workload_of
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.params import public_config

_N_READ = 400
"""Newest records that are read of each stage: enough for a mean, and quick."""


@dataclass(frozen=True)
class Duration:
    """Seconds of past nodes of one kind.

    Attributes:
        mean_s: Arithmetic mean.
        low_s: Shortest.
        high_s: Longest.
        n: How many there were; 0: told by the bench (`step_rates`).
    """

    mean_s: float
    low_s: float
    high_s: float
    n: int


class PastRuns:
    """Durations of published nodes by stage and size."""

    def __init__(self) -> None:
        self._known: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
        self._logged: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
        self._loose: dict[frozenset[str], dict[tuple[Any, ...], list[float]]] = {}

    @classmethod
    def from_store(cls, store: Store, stages: Iterable[str]) -> PastRuns:
        """What a storage knows of some stages: the newest nodes of whatever sweep."""
        past = cls()
        nodes = [(stage, key) for stage in stages for _, key in store.published(stage)[-_N_READ:]]
        with store.snapshot(nodes):
            for stage, key in nodes:
                record = store.record(stage, key)
                if record is not None and record.status == "done":
                    past.add(stage, record.config, record.wall_s)
        return past

    def add(self, stage: str, config: Mapping[str, Any], wall_s: float) -> None:
        """Take in a node that took ``wall_s`` seconds."""
        self._known[size_of(stage, config)].append(wall_s)
        self._loose.clear()

    def add_logged(self, stage: str, settings: Mapping[str, Any], wall_s: float) -> None:
        """Take in a node that only MLflow knows; ``settings`` under the keys of a search space."""
        self._logged[size_of(stage, settings)].append(wall_s)

    def seconds(self, node: Node) -> float | None:
        """Mean seconds of nodes like this one; None where none was measured."""
        found = self.duration(node.stage, node.config)
        return found.mean_s if found else None

    def duration(
        self, stage: str, config: Mapping[str, Any], apart_from: Collection[str] = ()
    ) -> Duration | None:
        """Of nodes of the same stage and size; None where none was measured.

        Args:
            stage: Name of the stage.
            config: Of the node.
            apart_from: Last parts of settings in which they may differ where no equal one was measured: a
                search tries sizes that nobody has tried before.
        """
        size = size_of(stage, config)
        found = self._known.get(size)
        if not found and self._logged:
            found = self._logged.get(size_of(stage, public_config(stage, config)))
        found = found or self._like(size, frozenset(apart_from) & workload_of(stage).size_fields)
        if not found:
            return None
        return Duration(statistics.fmean(found), min(found), max(found), len(found))

    def _like(self, size: tuple[Any, ...], apart_from: frozenset[str]) -> list[float]:
        if not apart_from:
            return []
        if apart_from not in self._loose:
            groups: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
            for known, seconds in self._known.items():
                groups[_without(known, apart_from)] += seconds
            self._loose[apart_from] = groups
        return self._loose[apart_from].get(_without(size, apart_from), [])


def size_of(stage: str, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells how much work a node is: equal for nodes that should take equally long."""
    return (stage, *_sizes(config, workload_of(stage).size_fields, ""))


def _sizes(config: Mapping[str, Any], fields: Collection[str], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in sorted(config):
        value = config[name]
        if isinstance(value, Mapping):
            found += _sizes(value, fields, f"{prefix}{name}.")
        elif name in fields:
            found.append((f"{prefix}{name}", str(value)))
    return found


def _without(size: tuple[Any, ...], names: Collection[str]) -> tuple[Any, ...]:
    stage, *pairs = size
    return (stage, *(pair for pair in pairs if pair[0].rpartition(".")[-1] not in names))


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
            return workload_of(node.stage).guessed_s * self._scale()
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
        ratios = [mean.value / workload_of(stage).guessed_s for stage, mean in list(self._stages.items())]
        return max(sum(ratios) / len(ratios), 1e-3) if ratios else 1.0


def _kind(node: Node) -> tuple[object, ...]:
    return node.stage, node.labels.get("method"), node.labels.get("train_size")


def _traits(node: Node) -> list[tuple[object, ...]]:
    """Its method and its training size, each alone."""
    names = ("method", "train_size")
    return [(node.stage, name, node.labels[name]) for name in names if node.labels.get(name) is not None]
