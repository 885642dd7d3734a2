"""The state of every node of a DAG, its transitions, and the order in which ready nodes start.

The node with the longest chain of descendants starts first, as far as durations are known by now. There is no
clock here: a run (`Ledger`) and a simulation of one (`cost.simulation`) drive the same scheduler.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

from dwp_sweep.config.node import Node, pipeline_order
from dwp_sweep.harness.dag.node_state import PUBLISHED, NodeState

Seconds = Callable[[Node], float]
"""Expected duration of a node."""

_NOT_BEGUN = ("ready", "waiting", "leased_by_other")
_N_RANKINGS = 32
"""How often all nodes are ranked again in the course of a run: its cost for each node that ends does not
depend on their number."""


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
        self.nodes: dict[str, Node] = {}
        self.stages: tuple[str, ...] = ()
        self.states: dict[str, NodeState] = {}
        self.held = frozenset(held)
        self.is_closed = False
        self._children: defaultdict[str, list[Node]] = defaultdict(list)
        self._queue = ReadyQueue((), seconds, lambda key: self.states[key] == "ready")
        self.add(states, nodes)

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
            if node.key not in self.nodes:  # else a search gave it up before, and its parents know it
                for key in dict.fromkeys(key for _, key in node.parents):
                    self._children[key].append(node)
            self.nodes[node.key] = node
            self.move(node, states[node.key])
        if any(node.stage not in self.stages for node in new):
            self.stages = pipeline_order(self.nodes.values())
        return new

    def drop(self, node: Node) -> None:
        """Take back a node that has not begun: a search has given its configuration up."""
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
        if state == "ready" and node.key not in self.held:
            self._queue.push(node)

    def publish(self, node: Node, state: NodeState) -> None:
        """A node is published, here (``done``) or by another run (``cached``): children may become ready."""
        self.states[node.key] = state
        for child in self._children[node.key]:
            if self.states[child.key] == "waiting" and all(
                self.states.get(key, "done") in PUBLISHED for _, key in child.parents
            ):
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
        """The durations have learned of one more node: the ready nodes may be ranked anew."""
        self._queue.learned()

    def close(self) -> None:
        """Hand out nothing more."""
        self.is_closed = True


class ReadyQueue:
    """Ready nodes by urgency: a heap for each stage, because all nodes of a stage ask for the same resources.

    Args:
        nodes: All nodes, parents before children.
        seconds: Expected durations; may learn at any time.
        is_ready: Whether the node of a key may start now: an entry whose node may not is left out.
    """

    def __init__(self, nodes: Iterable[Node], seconds: Seconds, is_ready: Callable[[str], bool]) -> None:
        self._nodes: dict[str, Node] = {}
        self._seconds, self._is_ready = seconds, is_ready
        self._order: dict[str, int] = {}
        self._lengths: dict[str, float] = {}
        self._queues: dict[str, list[tuple[float, int, str]]] = {}
        self._n_learned = 0
        self.add(nodes)

    def add(self, nodes: Iterable[Node]) -> None:
        """Take in nodes; none of them starts before it is pushed."""
        new = list(nodes)
        self._lengths |= critical_path(new, self._seconds)
        for node in new:
            self._nodes[node.key] = node
            self._order.setdefault(node.key, len(self._order))

    def push(self, node: Node) -> None:
        """A node may start; a second entry of it does no harm, since `is_ready` decides."""
        heapq.heappush(self._queues.setdefault(node.stage, []), self._entry(node.key))

    def all(self) -> list[str]:
        """Keys of all that may start, the most urgent first."""
        entries = {entry for queue in self._queues.values() for entry in queue}
        return [key for *_, key in sorted(entries) if self._is_ready(key)]

    def heads(self) -> list[str]:
        """The most urgent of each stage, the most urgent of them first; its cost does not grow with `all`."""
        entries = []
        for queue in self._queues.values():
            while queue and not self._is_ready(queue[0][-1]):
                heapq.heappop(queue)  # handed out, or leased by another run, since it was pushed
            entries += queue[:1]
        return [key for *_, key in sorted(entries)]

    def learned(self) -> None:
        """The durations have learned from one more node: from time to time, all are ranked anew.

        First guesses know neither methods nor sizes: without this the longest targets might start last.
        """
        self._n_learned += 1
        if self._n_learned % max(1, len(self._nodes) // _N_RANKINGS) == 0:
            self._lengths = critical_path(self._nodes.values(), self._seconds)
            for stage, queue in self._queues.items():
                self._queues[stage] = [self._entry(key) for key in {entry[-1] for entry in queue}]
                heapq.heapify(self._queues[stage])

    def _entry(self, key: str) -> tuple[float, int, str]:
        return -self._lengths[key], self._order[key], key


def critical_path(nodes: Iterable[Node], seconds: Seconds) -> dict[str, float]:
    """Key -> seconds from the node's start to the end of its longest chain of descendants.

    Args:
        nodes: Parents before children.
        seconds: Expected durations.
    """
    below: defaultdict[str, float] = defaultdict(float)
    lengths: dict[str, float] = {}
    for node in reversed(list(nodes)):
        lengths[node.key] = seconds(node) + below[node.key]
        for _, parent in node.parents:
            below[parent] = max(below[parent], lengths[node.key])
    return lengths
