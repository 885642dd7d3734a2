"""Bounds and list scheduling against all schedules of small DAGs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.simulation import list_schedule
from dwp_sweep.harness.dag.resources import Resources
from tests.benchmarks.lower_bound import lower_bound

ONE = {"target": Resources(1.0, 0.0)}


def small_dag(seed: int, n_nodes: int = 6) -> tuple[list[Node], dict[str, float]]:
    draws = random.Random(seed)
    nodes: list[Node] = []
    for place in range(n_nodes):
        parents = [node for node in nodes if draws.random() < 0.3]
        inputs = {"from": tuple((node.stage, node.key) for node in parents)} if parents else {}
        nodes.append(Node(f"{place:020x}", "target", {}, inputs))
    return nodes, {node.key: float(draws.randint(1, 6)) for node in nodes}


def shortest(
    nodes: Sequence[Node], seconds: Mapping[str, float], n_slots: int, free_s: Sequence[float] = ()
) -> float:
    """Of all orders of the starts: any schedule, idle slots included, is no better than one of these."""
    return min(_end(order, seconds, n_slots, free_s) for order in itertools.permutations(nodes))


def _end(order: Sequence[Node], seconds: Mapping[str, float], n_slots: int, free_s: Sequence[float]) -> float:
    free = sorted([*free_s, *[0.0] * (n_slots - len(free_s))])
    ends: dict[str, float] = {}
    begin = 0.0
    for node in order:
        if any(key not in ends for _, key in node.parents):
            return float("inf")
        begin = max([begin, free[0], *(ends[key] for _, key in node.parents)])
        ends[node.key] = begin + seconds[node.key]
        free = sorted([ends[node.key], *free[1:]])
    return max(ends.values())


@pytest.mark.parametrize("n_slots", [1, 2, 3])
def test_the_bound_is_below_every_schedule_and_list_scheduling_near_the_best(n_slots: int) -> None:
    for seed in range(12):
        nodes, seconds = small_dag(seed)
        bound, best = lower_bound(nodes, seconds, n_slots), shortest(nodes, seconds, n_slots)
        ours = list_schedule(nodes, seconds, ONE, Resources(float(n_slots), 0.0)).end_s
        assert bound <= best <= ours <= (2 - 1 / n_slots) * best + 1e-9  # Graham


def test_the_bound_is_reached_by_a_chain_by_one_slot_and_by_equal_nodes() -> None:
    chain = [
        Node(f"{i:020x}", "target", {}, {"from": (("target", f"{i - 1:020x}"),)} if i else {})
        for i in range(4)
    ]
    free = [Node(f"{i:020x}", "target", {}) for i in range(4)]
    two = {node.key: 2.0 for node in free}
    assert lower_bound(chain, two, 3) == shortest(chain, two, 3) == 8.0
    assert lower_bound(free, two, 2) == shortest(free, two, 2) == 4.0
    assert lower_bound([], {}, 2) == 0.0


def test_slots_that_are_free_later_raise_the_bound_and_never_above_the_best() -> None:
    for seed in range(8):
        nodes, seconds = small_dag(seed)
        for free_s in ([1.0, 5.0], [2.0, 40.0]):
            bound = lower_bound(nodes, seconds, 2, free_s)
            assert lower_bound(nodes, seconds, 2) < bound <= shortest(nodes, seconds, 2, free_s)
