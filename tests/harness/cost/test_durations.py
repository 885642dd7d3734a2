from __future__ import annotations

from pathlib import Path

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.cost.durations import Durations, PastRuns
from dwp_sweep.harness.dag.board import critical_path
from dwp_sweep.stages.workload import WORKLOADS
from dwp_sweep.store.local.store import LocalStore
from tests.harness.toy_stages import STAGES, toy_node

SOURCE = toy_node("source", "source")
PRIOR = toy_node("prior", "prior", [SOURCE])
LONG = toy_node("target", "long", [PRIOR])
SHORT = toy_node("target", "short", [SOURCE])
FREE = toy_node("target", "free")


def test_the_critical_path_is_the_longest_chain_of_durations() -> None:
    estimate = Durations()
    for node, seconds in ((SOURCE, 5.0), (PRIOR, 3.0), (LONG, 2.0), (SHORT, 4.0), (FREE, 1.0)):
        estimate.observe(node, seconds)
    lengths = critical_path([SOURCE, PRIOR, LONG, SHORT, FREE], estimate.seconds)
    assert [lengths[node.key] for node in (SOURCE, PRIOR, LONG, SHORT, FREE)] == [10.0, 5.0, 2.0, 4.0, 1.0]


def test_an_unmeasured_node_takes_what_others_of_its_stage_took() -> None:
    estimate = Durations()
    estimate.observe(LONG, 2.0)
    estimate.observe(SHORT, 4.0)
    assert estimate.seconds(FREE) == pytest.approx(3.0)


def test_an_unmeasured_stage_is_guessed_in_proportion_to_measured_ones() -> None:
    estimate = Durations()
    assert estimate.seconds(SOURCE) == WORKLOADS["source"].guessed_s and not estimate.is_measured
    estimate.observe(FREE, WORKLOADS["target"].guessed_s / 10)
    assert estimate.seconds(SOURCE) == pytest.approx(WORKLOADS["source"].guessed_s / 10)


def test_records_in_the_store_are_measurements(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    run_node(FREE, STAGES["target"], store)
    record = store.record("target", FREE.key)
    assert record is not None
    assert Durations([PastRuns.from_store(store, ["source", "target"]).of]).seconds(FREE) == pytest.approx(
        max(record.wall_s, 0.01)
    )


def test_a_methods_small_networks_and_other_methods_large_ones_foretell_its_large_ones() -> None:
    estimate = Durations()
    seconds = {("quick", 5): 2.0, ("quick", 20): 6.0, ("slow", 5): 4.0}
    for (method, size), wall_s in seconds.items():
        estimate.observe(Node("", "target", {}, {}, {"method": method, "train_size": size}), wall_s)
    unseen = Node("", "target", {}, {}, {"method": "slow", "train_size": 20})
    assert estimate.seconds(unseen) == pytest.approx(4.0 * (4.0 / 4.0) * (6.0 / 4.0))
