"""How long nodes of the same stage and size took before, in any sweep; sources are the storage and MLflow."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import Duration
from dwp_sweep.stages.workload import workload_of
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.mlflow_format import public_config

_N_READ = 400
"""Newest records that are read of each stage: enough for a mean, and quick."""

Size = tuple[Any, ...]
"""What decides how much work a node is: equal for nodes that should take equally long."""


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
