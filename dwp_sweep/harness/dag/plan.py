"""Which nodes of a sweep are there, have to be built, or cannot be built: decided before anything starts.

Reads the store only and imports no Ray, so that ``dwp-sweep plan`` answers at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dwp_sweep.config.node import Node, pipeline_order
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.dag.node_state import NodeState, StoredNode, node_states, was_pruned
from dwp_sweep.store.protocol import Store


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
    """State of every node of a sweep before a run, or of those that a new target needs.

    Attributes:
        sweep: The sweep.
        states: Key -> ``cached``, ``ready``, ``waiting``, ``failed``, ``blocked``, ``pruned`` or
            ``unneeded``, in the sweep's order.
        notes: What the user should know, e.g. which nodes are damaged.
        damaged: Published nodes that differ from their manifest and are built again.
    """

    sweep: Sweep
    states: Mapping[str, NodeState]
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
        nodes = self.sweep.nodes
        n = Counter((nodes[key].stage, state) for key, state in self.states.items())
        return [
            StageRow(
                stage=stage,
                n_to_build=n[stage, "ready"] + n[stage, "waiting"],
                n_cached=n[stage, "cached"],
                n_failed=n[stage, "failed"],
                n_blocked=n[stage, "blocked"],
                n_pruned=n[stage, "pruned"],
            )
            for stage in pipeline_order(nodes.values())
        ]


def make_plan(sweep: Sweep, store: Store, retry_failed: bool = True) -> Plan:
    """Compare a sweep with the store.

    Only targets that are missing, and those of their ancestors that are missing, are built: what a
    published node was made from need not exist any more. A needed node whose files differ from its
    manifest is built again. Reads the store only: `run_sweep` sets damaged folders aside.
    The plan of a search holds only what earlier runs asked for.

    Args:
        sweep: The sweep.
        store: Its storage.
        retry_failed: Whether nodes that failed in an earlier run are tried again.
    """
    if sweep.search is not None:
        # Imports optuna: for searches only.
        from dwp_sweep.harness.search.continuing import restore_configurations

        restore_configurations(sweep, store)
    comparison = _Comparison(sweep, store, retry_failed)
    with store.snapshot():
        states = node_states(list(sweep.nodes.values()), sweep.targets, comparison.own_state)
    if sweep.search is not None:
        # The search itself decides in its run with which of them it goes on.
        undecided = ("ready", "waiting", "blocked")
        states = {key: "unneeded" if state in undecided else state for key, state in states.items()}
    return comparison.plan(states)


def plan_target(
    target: Node, sweep: Sweep, store: Store, known: Mapping[str, NodeState], retry_failed: bool
) -> Plan:
    """A plan for a target that a search asks for in the course of a run.

    Args:
        target: The new target.
        sweep: Holds it and all that it needs.
        store: The storage.
        known: Key -> state of nodes that the run has already.
        retry_failed: Whether nodes that failed in an earlier run are tried again.

    Returns:
        The target and those of its ancestors that it needs and that are not known, parents before children.
    """
    nodes: dict[str, Node] = {}

    def collect(node: Node) -> None:
        if node.key in nodes or known.get(node.key, "unneeded") != "unneeded":
            return
        for _, key in node.parents:
            collect(sweep.nodes[key])
        nodes[node.key] = node

    collect(target)
    comparison = _Comparison(sweep, store, retry_failed)

    def own_state(node: Node, is_needed: bool) -> NodeState | None:
        return comparison.own_state(node, is_needed) if is_needed else None

    states = node_states(list(nodes.values()), [target.key], own_state, known)
    return comparison.plan({key: state for key, state in states.items() if state != "unneeded"})


class _Comparison:
    """What the storage says of nodes of a sweep, and what a run makes of it."""

    def __init__(self, sweep: Sweep, store: Store, retry_failed: bool) -> None:
        self._sweep, self._store, self._retry_failed = sweep, store, retry_failed
        self._damaged: dict[str, str] = {}

    def own_state(self, node: Node, is_needed: bool) -> NodeState | None:
        stored = StoredNode(node, self._store)
        # The files of a node that nothing reads are not verified.
        if stored.is_sound if is_needed else stored.is_published:
            return "cached"
        if is_needed and stored.is_published:
            self._damaged[node.key] = stored.damage
        if self._sweep.search is not None and was_pruned(stored.record, f"{self._sweep.name}/"):
            return "pruned"
        return "failed" if is_needed and not self._retry_failed and stored.has_failed else None

    def plan(self, states: Mapping[str, NodeState]) -> Plan:
        nodes = self._sweep.nodes
        notes = (
            f"{nodes[key].title} is damaged and will be built again: {why}"
            for key, why in self._damaged.items()
        )
        return Plan(self._sweep, states, tuple(notes), tuple(nodes[key] for key in self._damaged))
