from __future__ import annotations

from pathlib import Path

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.store.local.store import LocalStore
from tests.benchmarks.scale import time_of_suggestions
from tests.benchmarks.scale_child import space_of


def test_the_space_of_the_bench_has_as_many_targets_as_it_says() -> None:
    assert len(load_space(space_of(20)).conditions) == 20


def test_suggestions_are_timed(tmp_path: Path) -> None:
    wall, cpu = time_of_suggestions(5, LocalStore(tmp_path), 5)
    assert wall > 0 and cpu >= 0


class _CountingStates(dict[str, object]):
    """Counts how often the state of a node is looked at."""

    n_looks = 0

    def __getitem__(self, key: str) -> object:
        self.n_looks += 1
        return super().__getitem__(key)


def test_choosing_a_node_looks_at_as_many_nodes_however_many_wait() -> None:
    looks = []
    for size in (10, 1_000):
        nodes = {f"{place:020x}": Node(f"{place:020x}", "target", {}) for place in range(size)}
        sweep = Sweep("scale", nodes, tuple(nodes), {"target": ResourcesConfig()})
        ledger = Ledger(Plan(sweep, dict.fromkeys(nodes, "ready")), Durations(), lambda event: None)
        ledger.board.states = counted = _CountingStates(ledger.board.states)  # type: ignore[assignment]
        for place in range(5):
            (node,) = ledger.board.heads()
            ledger.hand_out(node, str(place))
            ledger.published(node, 1.0, {})
        looks.append(counted.n_looks)
    assert looks[0] == looks[1]
