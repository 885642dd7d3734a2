from __future__ import annotations

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.board import ReadyQueue


def target(place: int, method: str) -> Node:
    return Node(f"{place:020x}", "target", {}, {}, {"method": method})


def test_what_ended_teaches_which_of_those_that_wait_take_longest() -> None:
    nodes = [target(0, "quick"), target(1, "slow"), target(2, "quick"), target(3, "slow")]
    estimate, waiting = Durations(), {node.key for node in nodes}
    queue = ReadyQueue(nodes, estimate.seconds, waiting.__contains__)
    for node in nodes:
        queue.push(node)
    assert queue.all() == [node.key for node in nodes], "nothing is known: in the order of the grid"
    for node, wall_s in ((nodes[0], 1.0), (nodes[1], 9.0)):
        waiting.remove(node.key)
        estimate.observe(node, wall_s)
        queue.learned()
    assert queue.heads() == [nodes[3].key] and queue.all() == [nodes[3].key, nodes[2].key]


def test_ranking_again_costs_as_much_for_each_node_however_many_there_are() -> None:
    looks = []
    for size in (64, 640):
        estimate = _Counting()
        nodes = [target(place, "any") for place in range(size)]
        queue = ReadyQueue(nodes, estimate.seconds, lambda key: True)
        estimate.n_asked = 0
        for _ in nodes:
            queue.learned()
        looks.append(estimate.n_asked / size)
    assert looks[0] == looks[1] == 32


class _Counting(Durations):
    n_asked = 0

    def seconds(self, node: Node) -> float:
        self.n_asked += 1
        return super().seconds(node)
