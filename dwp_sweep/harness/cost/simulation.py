"""When each node would start and end: the run's own scheduler, driven by a simulated clock.

Board, work in hand and admission are those of a run; only the durations are known beforehand and nothing
is computed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dwp_sweep.config.node import Node
from dwp_sweep.harness.dag.board import Board, critical_path
from dwp_sweep.harness.dag.in_hand import InHand
from dwp_sweep.harness.dag.node_state import node_states
from dwp_sweep.harness.dag.resources import Admission, Resources

Limit = Callable[[float, Mapping[str, float]], str]
"""``(seconds since the start, stage -> seconds of its trials)`` -> the limit that is reached; empty: none."""


@dataclass(frozen=True)
class Schedule:
    """Result of `list_schedule`.

    Attributes:
        starts: Key -> second of its start; nodes that never start are missing.
        end_s: When the last one ends.
        critical_path_s: Longest chain of all nodes.
        stopped_by: The limit that kept nodes from starting, as a dotted key; empty: none.
    """

    starts: Mapping[str, float]
    end_s: float
    critical_path_s: float
    stopped_by: str


def list_schedule(
    nodes: Sequence[Node],
    seconds: Mapping[str, float],
    resources: Mapping[str, Resources],
    machine: Resources,
    limit: Limit = lambda wall_s, seconds: "",
) -> Schedule:
    """Start, whenever resources are free, the node with the longest way to go.

    A parent that is not among the nodes counts as done.

    Args:
        nodes: Parents before children.
        seconds: Key -> expected duration.
        resources: Stage -> what its nodes take; must fit the machine.
        machine: What there is.
        limit: Called before each start; where it names a limit, nothing more starts.
    """
    by_key = {node.key: node for node in nodes}
    board = Board(by_key, node_states(nodes, by_key, lambda *_: None), lambda node: seconds[node.key])
    now_s, admission = 0.0, Admission(lambda: (machine,), has_spare=False)
    in_hand = InHand(lambda: now_s)
    starts: dict[str, float] = {}
    ends: list[tuple[float, str]] = []
    stopped_by = ""
    while True:
        while (node := board.next(lambda stage: admission.admits(resources[stage]))) is not None:
            stopped_by = limit(now_s, in_hand.seconds_used())
            if stopped_by:
                board.close()
                break
            board.take(node)
            in_hand.take(node, node.key)
            in_hand.begin(node.key)
            admission.take(node.key, resources[node.stage])
            starts[node.key] = now_s
            heapq.heappush(ends, (now_s + seconds[node.key], node.key))
        if not ends:
            break
        now_s = ends[0][0]
        while ends and ends[0][0] == now_s:
            node = by_key[heapq.heappop(ends)[1]]
            in_hand.release(node)
            admission.release(node.key)
            board.publish(node, "done")
    longest_s = max(critical_path(nodes, lambda node: seconds[node.key]).values(), default=0.0)
    return Schedule(starts, now_s, longest_s, stopped_by)
