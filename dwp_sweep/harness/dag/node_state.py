"""The state of a node: the names of states, what the storage says of one node, and the rule over the DAG.

The plan, a search, `status` and `explain` use it; each adds what it alone knows (failures to retry, running
nodes).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import HISTORY, Point, Record, history_of

NodeState = Literal[
    "cached",
    "unneeded",
    "waiting",
    "ready",
    "leased_by_other",
    "queued",
    "running",
    "stopped",
    "done",
    "pruned",
    "failed",
    "blocked",
]
"""``leased_by_other``: another run builds it now; ``queued``: handed to Tune, not started yet; ``stopped``:
it left at its checkpoint and goes on from there; ``pruned``: given up by a search; ``cached``: published
before this run, or by another run since; ``unneeded``: not there, and nothing to be built reads it."""

PUBLISHED: frozenset[NodeState] = frozenset({"cached", "done"})
FAILED: frozenset[NodeState] = frozenset({"failed", "blocked"})
OPEN: frozenset[NodeState] = frozenset({"ready", "waiting", "leased_by_other", "queued", "running"})
"""States of nodes that a run has yet to build."""
_NEED_NO_INPUTS = PUBLISHED | {"pruned"}

LEFT_FAILED = "failed in an earlier run and is not tried again"


class GraphNode(Protocol):
    """What the rule needs of a node: `Node` and `NodeEntry` have it."""

    @property
    def key(self) -> str:
        """Its key."""

    @property
    def stage(self) -> str:
        """Its stage."""

    @property
    def parents(self) -> tuple[tuple[str, str], ...]:
        """(stage, key) of its inputs."""


N = TypeVar("N", bound=GraphNode)


class StoredNode:
    """What the storage says of one node; each answer is read once, on first use.

    Args:
        node: The node.
        store: The storage.
    """

    def __init__(self, node: GraphNode, store: Store) -> None:
        self._stage, self._key, self._store = node.stage, node.key, store

    @functools.cached_property
    def is_published(self) -> bool:
        """Whether it is published; its files may be damaged."""
        return self._store.is_published(self._stage, self._key)

    @functools.cached_property
    def damage(self) -> str:
        """How its published files differ from its manifest; empty: they are equal."""
        try:
            self._store.verify(self._stage, self._key)
        except CorruptArtifactError as error:
            return str(error)
        return ""

    @property
    def is_sound(self) -> bool:
        """Whether it is published and undamaged."""
        return self.is_published and not self.damage

    @functools.cached_property
    def record(self) -> Record | None:
        """How its last attempt ended; None where none has ended."""
        return self._store.record(self._stage, self._key)

    @property
    def has_failed(self) -> bool:
        """Whether its last attempt failed."""
        return self.record is not None and self.record.status == "failed"

    @functools.cached_property
    def history(self) -> tuple[Point, ...]:
        """Epochs of an attempt that has not ended: the next attempt goes on from there."""
        return history_of(self._store.read_work(self._stage, self._key, HISTORY) or "")


def node_states(
    nodes: Sequence[N],
    targets: Iterable[str],
    own_state: Callable[[N, bool], NodeState | None],
    around: Mapping[str, NodeState] | None = None,
) -> dict[str, NodeState]:
    """The state of every node.

    Needed are the targets and the inputs of needed nodes that are not published: what a published node was
    made from need not exist any more. A parent that is unknown counts as published.

    Args:
        nodes: Parents before children.
        targets: Keys of the nodes that the sweep asks for.
        own_state: ``(node, is_needed)`` -> the state that does not depend on other nodes; None: it has to be
            built, if it is needed.
        around: Key -> state of further nodes, which are not decided here.

    Returns:
        Key -> state, in the order of the nodes.
    """
    needed, own = set(targets), {}
    for node in reversed(nodes):
        is_needed = node.key in needed
        own[node.key] = own_state(node, is_needed)
        if is_needed and own[node.key] not in _NEED_NO_INPUTS:
            needed.update(key for _, key in node.parents)
    known = dict(around or {})
    states: dict[str, NodeState] = {}
    for node in nodes:
        state = own[node.key]
        if state is None or state == "stopped":
            state = _unbuilt(node, state, node.key in needed, known)
        states[node.key] = known[node.key] = state
    return states


def _unbuilt(
    node: GraphNode, own: NodeState | None, is_needed: bool, known: Mapping[str, NodeState]
) -> NodeState:
    if not is_needed:
        return "unneeded"
    parents = {known.get(key, "done") for _, key in node.parents}
    if parents & FAILED:
        return "blocked"
    return own or ("ready" if parents <= PUBLISHED else "waiting")


def was_pruned(record: Record | None, within: str) -> bool:
    """Whether a node was given up in a study, or in any study of a sweep.

    Another search may have given up the same node, compared with other rivals: that does not count here.

    Args:
        record: Of the node.
        within: Start of the reason: ``<sweep>/`` or ``<sweep>/<condition>``.
    """
    return record is not None and record.status == "pruned" and (record.error or "").startswith(within)
