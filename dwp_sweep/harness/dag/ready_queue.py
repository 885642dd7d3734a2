"""The order in which ready nodes start: the one with the longest way to go first, as far as is known by now.

A queue a stage, because all nodes of a stage ask for the same resources. Knows the DAG and its estimated
durations; whether a node is still ready it asks.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable

from dwp_sweep.config.node import Node

Seconds = Callable[[Node], float]
"""Expected duration of a node."""

_N_RANKINGS = 32
"""How often all nodes are ranked again in the course of a run: its cost for each node that ends stays the
same however many there are."""


class ReadyQueue:
    """Ready nodes by urgency.

    Args:
        nodes: All nodes, parents before children.
        seconds: Expected durations; may learn at any time.
        is_ready: Whether the node of a key may start now.
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
        """A node may start; doubles do no harm, since `is_ready` decides."""
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
                heapq.heappop(queue)  # handed out or leased by another run since it was put in
            entries += queue[:1]
        return [key for *_, key in sorted(entries)]

    def learned(self) -> None:
        """The durations have learned from one more node: now and then, all are ranked again.

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
