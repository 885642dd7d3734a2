"""Removing and running exclude each other; nothing that came between is lost."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from dwp_sweep.config.node import entries_of
from dwp_sweep.errors import InputError
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.gc import collect, survey
from dwp_sweep.store.heartbeat import Heartbeat, gc_at_work, gc_lock, wait_for_gc
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import record_nodes
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep

FREE = toy_node("target", "free")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = LocalStore(tmp_path)
    run_node(FREE, STAGES["target"], store)  # no sweep refers to it
    return store


def test_of_two_that_remove_one_is_refused_and_the_end_of_the_other_frees_the_way(store: Store) -> None:
    with gc_lock(store):
        with pytest.raises(InputError, match="another dwp-sweep gc"), gc_lock(store):
            pytest.fail("both are at work")
        assert gc_at_work(store) is not None
    assert gc_at_work(store) is None
    with gc_lock(store) as still_here:
        still_here()


def test_who_was_killed_while_removing_bars_nobody(store: Store) -> None:
    with gc_lock(store):
        values = json.loads((store.root / "gc.json").read_text())
    (store.root / "gc.json").write_text(
        json.dumps({**values, "started_ms": 1, "process": "boot/1"})
    )  # its number is another's now
    assert not wait_for_gc(store)
    with gc_lock(store):
        assert gc_at_work(store) is not None


def test_nothing_is_removed_while_a_run_is_announced_and_the_way_is_free_again(store: Store) -> None:
    with Heartbeat(store, "toy", "now"), pytest.raises(InputError, match="a run is working"), gc_lock(store):
        pytest.fail("it began")
    assert gc_at_work(store) is None


def test_a_node_that_a_sweep_came_to_need_after_the_survey_stays(store: Store) -> None:
    earlier = survey(store)
    assert [part.path.name for part in earlier.garbage] == [FREE.key]
    record_nodes(store, "toy", entries_of([FREE], [FREE.key]))
    assert collect(store, earlier) == 0 and store.is_published("target", FREE.key)


def test_a_run_waits_for_who_removes_and_plans_again_what_it_lost(store: Store) -> None:
    sweep = toy_sweep(FREE)
    plan = make_plan(sweep, store)
    assert plan.states[FREE.key] == "cached"
    collect(store, survey(store))
    begun, outcomes = threading.Event(), []

    def rerun() -> None:
        begun.set()
        wait_for_gc(store)
        outcomes.append(True)

    with gc_lock(store):
        thread = threading.Thread(target=rerun)
        thread.start()
        begun.wait()
        thread.join(0.3)
        assert not outcomes
        with pytest.raises(InputError, match="try again when it has ended"):
            wait_for_gc(store, patience_s=0.0)
    thread.join()
    assert outcomes == [True]


def test_a_plan_whose_nodes_are_gone_is_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("dwp_sweep.harness.run._Run.start", lambda run, plan, _: started.append(plan.states))
    sweep = toy_sweep(FREE)
    plan = make_plan(sweep, store)
    assert run_sweep(sweep, store, stages=STAGES, plan=plan).counts["cached"] == 1 and not started
    store.set_aside("target", FREE.key)
    run_sweep(sweep, store, stages=STAGES, plan=plan)
    assert started == [{FREE.key: "ready"}]
