"""How long a node takes, and how long until everything is built: for the ready queue, displays and `status`.

Sources of a duration, the first that knows it: nodes of the same kind that ended in this run; the given
sources (`PastRuns`: the storage and MLflow; the bench's training step); the mean of the stage; a guess.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.stages.workload import workload_of
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.mlflow_format import public_config

_N_READ = 400
"""Newest records that are read of each stage: enough for a mean, and quick."""

Size = tuple[Any, ...]
"""What decides how much work a node is: equal for nodes that should take equally long."""

_TRAITS = ("method", "train_size")
_LEAST_S = 0.01


@dataclass(frozen=True)
class Duration:
    """Seconds of nodes of one kind.

    Attributes:
        mean_s: Arithmetic mean.
        low_s: Shortest.
        high_s: Longest.
        n: How many there were; 0: known from the bench alone (`step_rates`).
    """

    mean_s: float
    low_s: float
    high_s: float
    n: int


Source = Callable[[Node], Duration | None]
"""Durations of nodes like the given one; None where none is known."""


class _Mean:
    """A running mean: it is read for every node whenever nodes are ranked."""

    def __init__(self) -> None:
        self._total, self._n = 0.0, 0

    def add(self, value: float) -> None:
        self._total, self._n = self._total + value, self._n + 1

    @property
    def value(self) -> float:
        return self._total / self._n


class Durations:
    """Mean duration by kind (stage, method, training size); else of a source; else by stage; else guesses.

    For a kind that was not measured yet, the mean of its stage is multiplied by how much longer nodes of its
    method, and those of its size, take than the mean: a method's small networks tell of its large ones.

    Args:
        sources: Each is called once a node, in this order, until one knows the duration.
    """

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        self._sources = sources
        self._of_sources: dict[str, Duration | None] = {}
        self._kinds: defaultdict[tuple[object, ...], _Mean] = defaultdict(_Mean)
        self._traits: defaultdict[tuple[object, ...], _Mean] = defaultdict(_Mean)
        self._stages: defaultdict[str, _Mean] = defaultdict(_Mean)

    @property
    def is_measured(self) -> bool:
        """Whether any node has been measured, here or in the past."""
        return bool(self._stages) or any(self._of_sources.values())

    def observe(self, node: Node, wall_s: float) -> None:
        """Take in how long a node took, in seconds."""
        self._kinds[_kind(node)].add(wall_s)
        self._stages[node.stage].add(wall_s)
        for trait in _traits(node):
            self._traits[trait].add(wall_s)

    def known(self, node: Node) -> Duration | None:
        """Duration by the sources; None where no source knows one."""
        if node.key not in self._of_sources:  # a display needs it at every refresh, for every open node
            durations = (source(node) for source in self._sources)
            self._of_sources[node.key] = next((known for known in durations if known is not None), None)
        return self._of_sources[node.key]

    def seconds(self, node: Node) -> float:
        """Expected seconds of work of a node; positive."""
        kind = self._kinds.get(_kind(node))
        if kind:
            return max(kind.value, _LEAST_S)
        if self._sources and (known := self.known(node)) is not None:
            return max(known.mean_s, _LEAST_S)
        stage = self._stages.get(node.stage)
        if stage is None:
            # By how much the guesses of the measured stages were wrong.
            ratios = [mean.value / workload_of(name).guessed_s for name, mean in list(self._stages.items())]
            scale = max(sum(ratios) / len(ratios), 1e-3) if ratios else 1.0
            return workload_of(node.stage).guessed_s * scale
        mean_s = stage.value
        means = [self._traits[trait].value for trait in _traits(node) if trait in self._traits]
        by_traits = mean_s * math.prod(value / mean_s for value in means) if mean_s > 0 else 0.0
        return max(by_traits, _LEAST_S)


class PastRuns:
    """Durations of published nodes by stage and size."""

    def __init__(self) -> None:
        self._known: defaultdict[Size, list[float]] = defaultdict(list)
        self._logged: defaultdict[Size, list[float]] = defaultdict(list)
        self._loose: dict[frozenset[str], dict[Size, list[float]]] = {}

    @classmethod
    def from_store(cls, store: Store, stages: Iterable[str]) -> PastRuns:
        """Durations of some stages on a storage: of their newest nodes in any sweep."""
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
        self._known[_size_of(stage, config)].append(wall_s)
        self._loose.clear()

    def add_logged(self, stage: str, settings: Mapping[str, Any], wall_s: float) -> None:
        """Take in a node that only MLflow knows; ``settings`` under the keys of a search space."""
        self._logged[_size_of(stage, settings)].append(wall_s)

    def of(self, node: Node) -> Duration | None:
        """Of nodes of the same stage and size; None where none was measured."""
        return self.duration(node.stage, node.config)

    def duration(
        self, stage: str, config: Mapping[str, Any], apart_from: Collection[str] = ()
    ) -> Duration | None:
        """Of nodes of the same stage and size; None where none was measured.

        Args:
            stage: Name of the stage.
            config: Of the node.
            apart_from: Last parts of settings in which they may differ where no equal one was measured: a
                search tries new sizes.
        """
        size = _size_of(stage, config)
        seconds = self._known.get(size)
        if not seconds and self._logged:
            seconds = self._logged.get(_size_of(stage, public_config(stage, config)))
        if not seconds and (ignored := frozenset(apart_from) & workload_of(stage).size_fields):
            if ignored not in self._loose:
                groups: defaultdict[Size, list[float]] = defaultdict(list)
                for known, of_known in self._known.items():
                    groups[_without(known, ignored)] += of_known
                self._loose[ignored] = groups
            seconds = self._loose[ignored].get(_without(size, ignored))
        if not seconds:
            return None
        return Duration(statistics.fmean(seconds), min(seconds), max(seconds), len(seconds))


@dataclass(frozen=True)
class RunningNode:
    """How far a running node is.

    Attributes:
        node: The node.
        ran_s: Seconds since its start.
        n_epochs_left: To its last epoch.
        epoch_s: Seconds of an epoch; None while unknown.
    """

    node: Node
    ran_s: float
    n_epochs_left: int = 0
    epoch_s: float | None = None


def node_left_s(running: RunningNode, durations: Durations) -> float | None:
    """Expected seconds to the end of a running node; None before anything is measured."""
    by_epochs = None if running.epoch_s is None else running.epoch_s * max(running.n_epochs_left, 0)
    expected_s = durations.seconds(running.node)
    if not durations.is_measured:
        return by_epochs
    by_kind = max(expected_s - running.ran_s, 0.0)
    # Early stopping ends most nodes before their last epoch: the smaller guess is the better one.
    return by_kind if by_epochs is None else min(by_epochs, max(by_kind, 1.0))


def time_left_s(
    to_start: Iterable[Node],
    running: Iterable[RunningNode],
    durations: Durations,
    n_slots: int,
    unasked_s: float = 0.0,
) -> float | None:
    """Expected seconds to the end of everything; None before anything is measured.

    The work shared out to the slots, but not less than the running node that takes longest.

    Args:
        to_start: Nodes that have not begun.
        running: Those that have.
        durations: Of nodes.
        n_slots: Nodes at once.
        unasked_s: Seconds of nodes that a search has yet to ask for.
    """
    lefts = [node_left_s(node, durations) for node in running]
    known = [left for left in lefts if left is not None]
    to_come_s = sum(map(durations.seconds, to_start)) + unasked_s
    if not durations.is_measured and (not known or len(known) < len(lefts)):
        return None
    return max([(to_come_s + sum(known)) / max(n_slots, 1), *known])


def _kind(node: Node) -> tuple[object, ...]:
    return node.stage, *(node.labels.get(name) for name in _TRAITS)


def _traits(node: Node) -> list[tuple[object, ...]]:
    """Its method and its training size, each alone."""
    return [(node.stage, name, node.labels[name]) for name in _TRAITS if node.labels.get(name) is not None]


def _size_of(stage: str, config: Mapping[str, Any]) -> Size:
    return (stage, *_size_fields(config, workload_of(stage).size_fields, ""))


def _size_fields(config: Mapping[str, Any], names: Collection[str], prefix: str) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for name in sorted(config):
        value = config[name]
        if isinstance(value, dict):  # plain values; this runs for every node, where `Mapping` would be slow
            fields += _size_fields(value, names, f"{prefix}{name}.")
        elif name in names:
            fields.append((f"{prefix}{name}", str(value)))
    return fields


def _without(size: Size, names: Collection[str]) -> Size:
    stage, *fields = size
    return (stage, *(field for field in fields if field[0].rpartition(".")[-1] not in names))
