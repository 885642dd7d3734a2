"""The state of every node of a DAG and its transitions: what may start, what an end lets start or blocks.

Plain bookkeeping without a clock: a run (`Ledger`) and a simulation of one (`cost.simulation`) both drive it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping

from dwp_sweep.config.node import Node, pipeline_order
from dwp_sweep.harness.dag.node_state import PUBLISHED, NodeState
from dwp_sweep.harness.dag.ready_queue import ReadyQueue, Seconds

_NOT_BEGUN = ("ready", "waiting", "leased_by_other")


class Board:
    """States of nodes.

    Args:
        nodes: Key -> node, parents before children.
        states: Key -> state at the start.
        seconds: Expected duration of a node; decides what starts first.
        held: Keys of nodes that are never handed out.

    Attributes:
        nodes: All nodes by key.
        stages: Their stages in the order of the pipeline.
        states: Key -> state; changed by the methods only.
        held: Keys of nodes that are never handed out.
        is_closed: Whether nothing is handed out any more.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        states: Mapping[str, NodeState],
        seconds: Seconds,
        held: Collection[str] = (),
    ) -> None:
        self.nodes = dict(nodes)
        self.stages = pipeline_order(self.nodes.values())
        self.states: dict[str, NodeState] = dict(states)
        self.held = frozenset(held)
        self.is_closed = False
        self._children: defaultdict[str, list[Node]] = defaultdict(list)
        self._linked: set[str] = set()
        self._queue = ReadyQueue(self.nodes.values(), seconds, lambda key: self.states[key] == "ready")
        for node in self.nodes.values():
            self._link(node)
            if self.states[node.key] == "ready":
                self._enqueue(node)

    def ready(self) -> list[Node]:
        """All nodes that may start, the one with the longest way to go first; none once closed."""
        return [] if self.is_closed else [self.nodes[key] for key in self._queue.all()]

    def heads(self) -> list[Node]:
        """The most urgent node of each stage that may start, the most urgent of them first.

        The cost does not grow with the number of nodes that wait, as that of `ready` does.
        """
        return [] if self.is_closed else [self.nodes[key] for key in self._queue.heads()]

    def next(self, admits: Callable[[str], bool]) -> Node | None:
        """The most urgent node whose stage is admitted: all nodes of a stage ask for the same resources."""
        return next((node for node in self.heads() if admits(node.stage)), None)

    def in_state(self, *states: NodeState) -> list[Node]:
        """Nodes in one of some states, in the sweep's order."""
        return [self.nodes[key] for key, state in list(self.states.items()) if state in states]

    def counts(self) -> dict[str, int]:
        """Number of nodes by state."""
        return dict(Counter(self.states.values()))

    def add(self, states: Mapping[str, NodeState], nodes: Mapping[str, Node]) -> list[Node]:
        """Take in nodes that a search has asked for; those that are there already keep their state.

        Args:
            states: Key -> ``cached``, ``ready``, ``waiting``, ``pruned``, ``failed`` or ``blocked``, parents
                before children.
            nodes: The nodes by key.

        Returns:
            Those that are new.
        """
        new = [nodes[key] for key in states if self.states.get(key, "unneeded") == "unneeded"]
        self._queue.add(new)
        for node in new:
            self.nodes[node.key] = node
            self._link(node)
            self.states[node.key] = states[node.key]
            if states[node.key] == "ready":
                self._enqueue(node)
        if any(node.stage not in self.stages for node in new):
            self.stages = pipeline_order(self.nodes.values())
        return new

    def drop(self, node: Node) -> None:
        """Take back a node that nobody works on: a search has given its configuration up."""
        if self.states[node.key] in _NOT_BEGUN:
            self.states[node.key] = "unneeded"

    def take(self, node: Node) -> None:
        """A ready node is handed to a trial.

        Raises:
            ValueError: It is not ready.
        """
        if self.states[node.key] != "ready":
            raise ValueError(f"{node.title} is {self.states[node.key]}, not ready: it cannot be handed out")
        self.states[node.key] = "queued"

    def move(self, node: Node, state: NodeState) -> None:
        """A node changes to a state that concerns no other node."""
        self.states[node.key] = state
        if state == "ready":
            self._enqueue(node)

    def publish(self, node: Node, state: NodeState) -> None:
        """A node is published, here (``done``) or by another run (``cached``): children may become ready."""
        self.states[node.key] = state
        for child in self._children[node.key]:
            if self.states[child.key] == "waiting" and self._has_all_inputs(child):
                self.move(child, "ready")

    def fail(self, node: Node) -> list[tuple[Node, Node]]:
        """A node failed for good: its waiting descendants are blocked; each with the parent that it lacks."""
        self.states[node.key] = "failed"
        blocked, parents = [], [node]
        for parent in parents:
            for child in self._children[parent.key]:
                if self.states[child.key] == "waiting":
                    self.states[child.key] = "blocked"
                    blocked.append((child, parent))
                    parents.append(child)
        return blocked

    def learned(self) -> None:
        """The durations have learned of one more node: what waits may be ranked again."""
        self._queue.learned()

    def close(self) -> None:
        """Hand out nothing more."""
        self.is_closed = True

    def _link(self, node: Node) -> None:
        if node.key not in self._linked:
            self._linked.add(node.key)
            for key in dict.fromkeys(key for _, key in node.parents):
                self._children[key].append(node)

    def _enqueue(self, node: Node) -> None:
        """Put a node among those that may start; doubles do no harm, since its state decides."""
        if node.key not in self.held:
            self._queue.push(node)

    def _has_all_inputs(self, node: Node) -> bool:
        return all(self.states.get(key, "done") in PUBLISHED for _, key in node.parents)
