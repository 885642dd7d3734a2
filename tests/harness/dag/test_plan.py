from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.dag.plan import StageRow, make_plan
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from tests.harness.toy_stages import STAGES, demo_sweep, toy_node, toy_sweep


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path)


def build(store: Store, *nodes: Node) -> None:
    for node in nodes:
        run_node(node, STAGES[node.stage], store)


SOURCE = toy_node("source", "source")
OTHER = toy_node("source", "other")
PRIOR = toy_node("prior", "prior", [SOURCE])
TARGET = toy_node("target", "target", [PRIOR])
FREE = toy_node("target", "free")
SWEEP = toy_sweep(SOURCE, OTHER, PRIOR, TARGET, FREE)


def test_an_empty_store_leaves_everything_that_targets_need_to_build(store: Store) -> None:
    plan = make_plan(SWEEP, store)
    states = [plan.states[node.key] for node in (SOURCE, OTHER, PRIOR, TARGET, FREE)]
    assert states == ["ready", "unneeded", "waiting", "waiting", "ready"]
    assert plan.to_build == (SOURCE, PRIOR, TARGET, FREE)


def test_published_nodes_are_cached_and_their_children_ready(store: Store) -> None:
    build(store, SOURCE)
    states = make_plan(SWEEP, store).states
    assert (states[SOURCE.key], states[PRIOR.key], states[TARGET.key]) == ("cached", "ready", "waiting")


def test_what_a_published_target_was_made_from_need_not_exist(store: Store) -> None:
    build(store, SOURCE, PRIOR, TARGET, FREE)
    store.set_aside("source", SOURCE.key)
    plan = make_plan(SWEEP, store)
    assert plan.to_build == ()
    assert (plan.states[SOURCE.key], plan.states[PRIOR.key]) == ("unneeded", "cached")


def test_a_damaged_node_is_named_and_to_be_built_again_and_planning_touches_nothing(store: Store) -> None:
    build(store, SOURCE, PRIOR)
    (store.node_dir("prior", PRIOR.key) / "out.json").write_text("{}")
    plan = make_plan(SWEEP, store)
    assert plan.states[PRIOR.key] == "ready"
    assert plan.damaged == (PRIOR,)
    assert (store.node_dir("prior", PRIOR.key) / "out.json").read_text() == "{}"
    assert len(plan.notes) == 1 and PRIOR.title in plan.notes[0] and "out.json" in plan.notes[0]


def test_a_failed_node_is_tried_again_unless_the_user_says_no(store: Store) -> None:
    bad = toy_node("source", "bad", behaviour="diverges")
    child = toy_node("target", "child", [bad])
    sweep = toy_sweep(bad, child, FREE)
    build(store, bad)
    assert make_plan(sweep, store).states == {bad.key: "ready", child.key: "waiting", FREE.key: "ready"}
    left = make_plan(sweep, store, retry_failed=False)
    assert left.states == {bad.key: "failed", child.key: "blocked", FREE.key: "ready"}
    assert left.to_build == (FREE,)


def test_rows_count_by_stage_in_the_order_of_the_pipeline(store: Store) -> None:
    sweep = demo_sweep()
    first = next(iter(sweep.nodes.values()))
    build(store, first)
    rows = make_plan(sweep, store).by_stage()
    assert rows == [
        StageRow("source", 1, 1, 0, 0),
        StageRow("harvest", 1, 0, 0, 0),
        StageRow("prior", 7, 0, 0, 0),
        StageRow("target", 16, 0, 0, 0),
    ]


def test_planning_does_not_import_ray() -> None:
    code = "import sys, dwp_sweep.harness.run, dwp_sweep.harness.dag.plan; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
