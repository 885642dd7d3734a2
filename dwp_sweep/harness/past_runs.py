"""How long nodes of the same stage and size took before, whatever sweep they were of.

What estimates of money and time rest on. Reads records only; nothing measured means unknown.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.store.store import Store
from dwp_sweep.tracking.params import public_config

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
        found = found or self._like(size, frozenset(apart_from) & _SIZES)
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
    return (stage, *_sizes(config, ""))


def _sizes(config: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in sorted(config):
        value = config[name]
        if isinstance(value, Mapping):
            found += _sizes(value, f"{prefix}{name}.")
        elif name in _SIZES:
            found.append((f"{prefix}{name}", str(value)))
    return found


def _without(size: tuple[Any, ...], names: Collection[str]) -> tuple[Any, ...]:
    stage, *pairs = size
    return (stage, *(pair for pair in pairs if pair[0].rpartition(".")[-1] not in names))
