"""Seconds below which no schedule ends: what the makespan is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dwp_sweep.config.node import Node
from dwp_sweep.harness.dag.board import critical_path


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
    if not nodes:
        return 0.0
    work = sum(seconds[node.key] for node in nodes)
    starts = sorted([*free_s, *[0.0] * (n_slots - len(free_s))])[:n_slots]
    longest = max(critical_path(nodes, lambda node: seconds[node.key]).values())
    # Slots that become free late may stay idle: the bound holds for every number of first ones.
    by_work = min((work + sum(starts[:n])) / n for n in range(1, n_slots + 1))
    return max(starts[0] + longest, by_work)
