"""When each node would start and end: list scheduling by critical path, as the searcher hands nodes out.

A simulation over expected durations; nothing runs. Knows nothing of where the durations come from.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dwp_sweep.config.node import Node
from dwp_sweep.harness.dag.slots import Resources

_HOUR_S = 3600.0
_SMALL = 1e-9


@dataclass(frozen=True)
class Pool:
    """What may be spent before nothing more starts; None: without end.

    Attributes:
        shapes: Stage -> resources that are paid for.
        cpu_hours: CPU slots x hours.
        gpu_hours: GPU slots x hours.
        wall_s: Seconds since the start.
    """

    shapes: Mapping[str, Resources]
    cpu_hours: float | None = None
    gpu_hours: float | None = None
    wall_s: float | None = None

    def reached(self, now_s: float, seconds: Mapping[str, float]) -> str:
        """The limit that is reached, as a dotted key; empty: none.

        Args:
            now_s: Seconds since the start.
            seconds: Stage -> seconds of nodes up to now, running ones included.
        """
        cpu = sum(self.shapes[stage].cpu * spent for stage, spent in seconds.items()) / _HOUR_S
        gpu = sum(self.shapes[stage].gpu * spent for stage, spent in seconds.items()) / _HOUR_S
        limits = {
            "budget.gpu_hours": (self.gpu_hours, gpu),
            "budget.cpu_hours": (self.cpu_hours, cpu),
            "budget.wall": (self.wall_s, now_s),
        }
        return next((key for key, (limit, used) in limits.items() if limit is not None and used >= limit), "")


@dataclass(frozen=True)
class Schedule:
    """Result of `list_schedule`.

    Attributes:
        starts: Key -> second of its start; nodes that never start are missing.
        end_s: When the last one ends.
        critical_path_s: Longest chain of all nodes.
        stopped_by: The limit that kept nodes from starting; empty: none.
    """

    starts: Mapping[str, float]
    end_s: float
    critical_path_s: float
    stopped_by: str = ""


def list_schedule(
    nodes: Sequence[Node],
    seconds: Mapping[str, float],
    shapes: Mapping[str, Resources],
    machine: Resources,
    pool: Pool | None = None,
) -> Schedule:
    """Start, whenever resources are free, the node with the longest way to go.

    A parent that is not among the nodes counts as done.

    Args:
        nodes: Parents before children.
        seconds: Key -> expected duration.
        shapes: Stage -> what its nodes take; must fit the machine.
        machine: What there is.
        pool: What may be spent.
    """
    return _Simulation(nodes, seconds, shapes, machine, pool).run()


def lower_bound(
    nodes: Sequence[Node], seconds: Mapping[str, float], n_slots: int, free_s: Sequence[float] = ()
) -> float:
    """Seconds below which no schedule of these nodes ends: the longest chain, or the work over all slots.

    Args:
        nodes: Parents before children; each takes one slot.
        seconds: Key -> duration.
        n_slots: Nodes at once.
        free_s: When each slot is first free, those that are not named at once.
    """
    work = sum(seconds[node.key] for node in nodes)
    starts = sorted([*free_s, *[0.0] * (n_slots - len(free_s))])[:n_slots]
    longest = max(_lengths(nodes, seconds).values(), default=0.0)
    if not nodes:
        return 0.0
    # The slots that are free late may as well stay idle: the bound holds for every number of first ones.
    by_work = min((work + sum(starts[:n])) / n for n in range(1, n_slots + 1))
    return max(starts[0] + longest, by_work)


class _Simulation:
    def __init__(
        self,
        nodes: Sequence[Node],
        seconds: Mapping[str, float],
        shapes: Mapping[str, Resources],
        machine: Resources,
        pool: Pool | None,
    ) -> None:
        self.nodes = {node.key: node for node in nodes}
        self.seconds, self.shapes, self.pool = seconds, shapes, pool
        self.cpu, self.gpu = machine
        self.now, self.stopped_by = 0.0, ""
        self.starts: dict[str, float] = {}
        self.running: list[tuple[float, int, str]] = []
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.lengths = _lengths(nodes, seconds)
        self.order = {key: place for place, key in enumerate(self.nodes)}
        self.lacking = {n.key: len({key for _, key in n.parents if key in self.nodes}) for n in nodes}
        self.children: defaultdict[str, list[str]] = defaultdict(list)
        for node in nodes:
            for key in {key for _, key in node.parents if key in self.nodes}:
                self.children[key].append(node.key)
        self.queues: defaultdict[str, list[tuple[float, int, str]]] = defaultdict(list)
        for key, count in self.lacking.items():
            if not count:
                self._enqueue(key)

    def run(self) -> Schedule:
        self._dispatch()
        while self.running:
            end, _, key = heapq.heappop(self.running)
            self._pass_time(end, key)
            shape = self.shapes[self.nodes[key].stage]
            self.cpu, self.gpu = self.cpu + shape.cpu, self.gpu + shape.gpu
            for child in self.children[key]:
                self.lacking[child] -= 1
                if not self.lacking[child]:
                    self._enqueue(child)
            if not self.running or self.running[0][0] > self.now:
                self._dispatch()
        longest = max(self.lengths.values(), default=0.0)
        return Schedule(self.starts, self.now, longest, self.stopped_by)

    def _enqueue(self, key: str) -> None:
        entry = (-self.lengths[key], self.order[key], key)
        heapq.heappush(self.queues[self.nodes[key].stage], entry)

    def _pass_time(self, end: float, ended: str) -> None:
        passed = end - self.now
        if passed and self.pool:
            for key in (ended, *(key for _, _, key in self.running)):
                self.spent[self.nodes[key].stage] += passed
        self.now = end

    def _dispatch(self) -> None:
        while (stage := self._most_urgent()) is not None:
            if self.pool and (reason := self.pool.reached(self.now, self.spent)):
                self.stopped_by = reason
                return
            key = heapq.heappop(self.queues[stage])[-1]
            shape = self.shapes[stage]
            self.cpu, self.gpu = self.cpu - shape.cpu, self.gpu - shape.gpu
            self.starts[key] = self.now
            heapq.heappush(self.running, (self.now + self.seconds[key], self.order[key], key))

    def _most_urgent(self) -> str | None:
        fitting = [
            (queue[0], stage)
            for stage, queue in self.queues.items()
            if queue and self._fits(self.shapes[stage])
        ]
        return min(fitting)[1] if fitting else None

    def _fits(self, shape: Resources) -> bool:
        return shape.cpu <= self.cpu + _SMALL and shape.gpu <= self.gpu + _SMALL


def _lengths(nodes: Sequence[Node], seconds: Mapping[str, float]) -> dict[str, float]:
    below: defaultdict[str, float] = defaultdict(float)
    lengths: dict[str, float] = {}
    for node in reversed(nodes):
        lengths[node.key] = seconds[node.key] + below[node.key]
        for _, parent in node.parents:
            below[parent] = max(below[parent], lengths[node.key])
    return lengths
