"""What of a sweep is there, what has to be built and what cannot be: decided before anything starts.

Stands between the sweep (config) and its run. Reads the store only; knows nothing of Ray, so that
``dwp-sweep plan`` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dwp_sweep.config.node import Node, pipeline_order
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.harness.dag.pruning import was_pruned
from dwp_sweep.store.protocol import Store

PlanState = Literal["cached", "ready", "waiting", "failed", "blocked", "pruned", "unneeded"]
"""``unneeded``: neither published nor read by what has to be built; ``pruned``: given up by a search."""


@dataclass(frozen=True)
class StageRow:
    """How many nodes of one stage are in which state."""

    stage: str
    n_to_build: int
    n_cached: int
    n_failed: int
    n_blocked: int
    n_pruned: int = 0


@dataclass(frozen=True)
class Plan:
    """State of every node of a sweep before a run.

    Attributes:
        sweep: The sweep.
        states: Key -> state, in the sweep's order.
        notes: What the user should know, e.g. which nodes are damaged.
        damaged: Published nodes that differ from their manifest and are built again.
    """

    sweep: Sweep
    states: Mapping[str, PlanState]
    notes: tuple[str, ...] = ()
    damaged: tuple[Node, ...] = ()

    @property
    def to_build(self) -> tuple[Node, ...]:
        """Nodes that a run would build, parents first."""
        return tuple(
            self.sweep.nodes[key] for key, state in self.states.items() if state in ("ready", "waiting")
        )

    def by_stage(self) -> list[StageRow]:
        """One row a stage, in the order of the pipeline."""
        return [self._row(stage) for stage in pipeline_order(self.sweep.nodes.values())]

    def _row(self, stage: str) -> StageRow:
        states = [state for key, state in self.states.items() if self.sweep.nodes[key].stage == stage]
        return StageRow(
            stage=stage,
            n_to_build=states.count("ready") + states.count("waiting"),
            n_cached=states.count("cached"),
            n_failed=states.count("failed"),
            n_blocked=states.count("blocked"),
            n_pruned=states.count("pruned"),
        )


def make_plan(sweep: Sweep, store: Store, retry_failed: bool = True) -> Plan:
    """Compare a sweep with the store.

    Only targets that are missing, and those of their ancestors that are missing, are built: what a
    published node was made from need not exist any more. A needed node whose files differ from its
    manifest is built again. Reads the store only: `run_sweep` sets damaged folders aside.
    Of a search only what earlier runs asked for is known; what it will ask for is not in the plan.

    Args:
        sweep: The sweep.
        store: Its storage.
        retry_failed: Whether nodes that failed in an earlier run are tried again.
    """
    if sweep.search is not None:
        _recall(sweep, store)
    damaged: dict[str, str] = {}
    states: dict[str, PlanState] = {}
    with store.snapshot():
        cached, needed = _cached_and_needed(sweep, store, damaged)
        for key, node in sweep.nodes.items():
            states[key] = _state(node, cached, needed, states, not retry_failed and _has_failed(node, store))
        if sweep.search is not None:
            states = {key: _of_search(sweep, key, state, store) for key, state in states.items()}
    notes = [
        f"{sweep.nodes[key].title} is damaged and will be built again: {why}" for key, why in damaged.items()
    ]
    return Plan(sweep, states, tuple(notes), tuple(sweep.nodes[key] for key in damaged))


def _recall(sweep: Sweep, store: Store) -> None:
    from dwp_sweep.harness.search.past_configurations import (
        restore_configurations,
    )  # imports optuna: for searches only

    restore_configurations(sweep, store)


def _of_search(sweep: Sweep, key: str, state: PlanState, store: Store) -> PlanState:
    """What a search asked for before is history; what it goes on with, it decides itself when it runs."""
    node = sweep.nodes[key]
    if state != "cached" and was_pruned(store.record(node.stage, key), f"{sweep.name}/"):
        return "pruned"
    return "unneeded" if state in ("ready", "waiting", "blocked") else state


def _cached_and_needed(sweep: Sweep, store: Store, damaged: dict[str, str]) -> tuple[set[str], set[str]]:
    cached: set[str] = set()
    needed = set(sweep.targets)
    for node in reversed(list(sweep.nodes.values())):
        if node.key not in needed:
            if store.is_published(node.stage, node.key):
                cached.add(node.key)
        elif _is_sound(node, store, damaged):
            cached.add(node.key)
        else:
            needed |= {key for _, key in node.parents}
    return cached, needed


def _state(
    node: Node, cached: set[str], needed: set[str], states: Mapping[str, PlanState], left_failed: bool
) -> PlanState:
    if node.key in cached:
        return "cached"
    if node.key not in needed:
        return "unneeded"
    if left_failed:
        return "failed"
    parents = {states[key] for _, key in node.parents}
    if parents & {"failed", "blocked"}:
        return "blocked"
    return "ready" if parents <= {"cached"} else "waiting"


def _is_sound(node: Node, store: Store, damaged: dict[str, str]) -> bool:
    if not store.is_published(node.stage, node.key):
        return False
    try:
        store.verify(node.stage, node.key)
    except CorruptArtifactError as error:
        damaged[node.key] = str(error)
        return False
    return True


def _has_failed(node: Node, store: Store) -> bool:
    record = store.record(node.stage, node.key)
    return record is not None and record.status == "failed"
