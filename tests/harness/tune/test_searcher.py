from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from dwp_sweep.config.node import Node, node_of
from dwp_sweep.config.sections import FailuresConfig, RetriesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.failures import FailureAccount, Place
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.dag.resources import Admission, Resources
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.harness.tune.searcher import DagSearcher
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep

SOURCE = toy_node("source", "source")
BAD = toy_node("source", "bad", behaviour="diverges")
CHILD = toy_node("target", "child", [SOURCE])
BAD_CHILD = toy_node("target", "bad child", [BAD])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path)


def searcher_of(
    store: Store, sweep: Sweep, n_cpus: float = 8, failures: FailureAccount | None = None
) -> DagSearcher:
    ledger = Ledger(make_plan(sweep, store), Durations(), lambda event: None, failures=failures)
    shapes = {stage: Resources(1, 0) for stage in STAGES}
    return DagSearcher(Dispatch(ledger, store, Admission(lambda: [Resources(n_cpus, 0)]), shapes))


def build(store: Store, node: Node) -> None:
    run_node(node, STAGES[node.stage], store)


def test_a_trials_config_is_the_nodes_key_and_stage_and_the_node_lies_in_its_folder(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    assert searcher.suggest("1") == {"node": SOURCE.key, "stage": "source"}
    assert node_of(store.handed_over("source", SOURCE.key)) == SOURCE


def test_nothing_is_handed_out_before_its_inputs_are_published_and_the_end_is_told(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    searcher.suggest("1")
    assert searcher.suggest("2") is None
    build(store, SOURCE)
    searcher.on_trial_complete("1", {"published": True})
    assert searcher.suggest("3") == {"node": CHILD.key, "stage": "target"}
    assert searcher.suggest("4") is None
    build(store, CHILD)
    searcher.on_trial_complete("3", {"published": True})
    assert searcher.suggest("5") == Searcher.FINISHED


def test_the_store_is_believed_not_the_trials_result(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    searcher.suggest("1")
    searcher.on_trial_complete("1", {"published": True})
    assert searcher.dispatch.ledger.board.states[SOURCE.key] == "ready"
    searcher.suggest("2")
    build(store, SOURCE)
    searcher.on_trial_complete("2", None)
    assert searcher.dispatch.ledger.board.states[SOURCE.key] == "done"


def test_a_recorded_failure_blocks_only_descendants_and_is_not_repeated(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, BAD, CHILD, BAD_CHILD))
    handed = {searcher.suggest("1")["node"]: "1", searcher.suggest("2")["node"]: "2"}  # type: ignore[index]
    build(store, BAD)
    searcher.on_trial_complete(handed[BAD.key], {"published": False})
    assert searcher.dispatch.ledger.board.states[BAD.key] == "failed"
    assert searcher.dispatch.ledger.board.states[BAD_CHILD.key] == "blocked"
    assert searcher.dispatch.ledger.board.states[CHILD.key] == "waiting"
    assert "last finite step was 6" in searcher.dispatch.ledger.messages[BAD.key]
    assert searcher.suggest("3") is None


def test_a_lost_node_is_handed_out_again_until_it_has_been_lost_too_often(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    for attempt in range(3):
        assert searcher.suggest(f"{attempt}") is not None
        searcher.dispatch.close(f"{attempt}", lost="its worker died")
    assert searcher.dispatch.ledger.messages == {SOURCE.key: "its worker died"}
    record = store.record("source", SOURCE.key)
    assert record is not None and record.status == "failed" and record.error == "its worker died"
    assert record.failure == "lost"
    assert searcher.suggest("4") == Searcher.FINISHED


def test_an_error_that_ray_reports_has_given_up_on_is_final(store: Store) -> None:
    no_retry = FailuresConfig(retries=RetriesConfig(lost=0))
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD), failures=FailureAccount(no_retry))
    searcher.suggest("1")
    searcher.on_trial_complete("1", error=True)
    assert (
        searcher.dispatch.ledger.board.states[SOURCE.key] == "queued"
    )  # the callback, which knows the reason, settles it
    searcher.dispatch.close("1", lost="its worker died")
    assert searcher.dispatch.ledger.board.states[SOURCE.key] == "failed"


def test_a_trial_is_settled_once(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    searcher.suggest("1")
    build(store, SOURCE)
    searcher.on_trial_complete("1", {})
    searcher.dispatch.close("1", lost="word that comes late")
    assert searcher.dispatch.ledger.board.states[SOURCE.key] == "done"


def test_what_another_run_has_published_meanwhile_is_not_built(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    build(store, SOURCE)
    assert searcher.suggest("1") == {"node": CHILD.key, "stage": "target"}
    assert searcher.dispatch.ledger.board.states[SOURCE.key] == "cached"


def test_a_stopped_node_is_left_for_the_next_run(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    searcher.suggest("1")
    searcher.dispatch.ledger.drain()
    searcher.on_trial_complete("1", {"stopped": True})
    assert searcher.dispatch.ledger.board.states[SOURCE.key] == "ready"
    assert not searcher.dispatch.ledger.failures.by_host()
    assert searcher.suggest("2") == Searcher.FINISHED


def test_no_more_is_handed_out_than_fits_and_one(store: Store) -> None:
    nodes = [toy_node("target", f"target{i}") for i in range(9)]
    searcher = searcher_of(store, toy_sweep(*nodes), n_cpus=2)
    assert [searcher.suggest(str(i)) is not None for i in range(5)] == [True, True, True, False, False]


def test_epochs_reach_the_board(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    searcher.suggest("1")
    searcher.on_trial_result("1", {"epoch": 3, "n_epochs": 9, "metrics/val_loss": 0.5, "pid": 7})
    work = searcher.dispatch.ledger.in_hand.work["1"]
    assert (work.epoch, work.n_epochs, work.metrics) == (3, 9, {"val_loss": 0.5})


def test_tune_may_pickle_the_searcher_and_its_limiter_steps_aside(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    assert pickle.loads(pickle.dumps(searcher)).__dict__ == {}
    assert searcher.set_max_concurrency(1) is True


def test_a_lost_node_that_comes_on_between_its_losses_is_never_given_up(store: Store) -> None:
    searcher = searcher_of(store, toy_sweep(SOURCE, CHILD))
    for attempt in range(1, 9):
        searcher.suggest(f"{attempt}")
        searcher.on_trial_result(f"{attempt}", {"epoch": attempt, "n_epochs": 20})
        searcher.dispatch.close(f"{attempt}", lost="its worker died")
        assert searcher.dispatch.ledger.board.states[SOURCE.key] == "ready"


def test_an_error_in_the_node_is_tried_again_as_often_as_asked(store: Store) -> None:
    twice = FailuresConfig(retries=RetriesConfig(error=2))
    searcher = searcher_of(store, toy_sweep(BAD, BAD_CHILD), failures=FailureAccount(twice))
    trial = "first"
    assert searcher.suggest(trial) == {"node": BAD.key, "stage": "source"}
    for attempt in range(2):
        build(store, BAD)
        searcher.on_trial_complete(trial, {"machine": "m", "hostname": "h"})
        trial = f"again {attempt}"
        assert searcher.suggest(trial) == {"node": BAD.key, "stage": "source"}
    build(store, BAD)
    searcher.on_trial_complete(trial, {"machine": "m", "hostname": "h"})
    assert searcher.dispatch.ledger.board.states[BAD.key] == "failed"
    (host,) = searcher.dispatch.ledger.failures.by_host()
    assert host.counts == {"error": 3} and host.host == os.uname().nodename


def test_failures_end_the_run_with_the_reason_and_leave_the_rest_open(store: Store) -> None:
    bad = [toy_node("target", f"bad{i}", behaviour="has a bug") for i in range(4)]
    account = FailureAccount(FailuresConfig(max_failed=2))
    searcher = searcher_of(store, toy_sweep(*bad), n_cpus=1, failures=account)
    for trial in ("1", "2"):
        found = searcher.suggest(trial)
        assert isinstance(found, dict)
        build(store, next(node for node in bad if node.key == found["node"]))
        searcher.on_trial_complete(trial, {})
    ledger = searcher.dispatch.ledger
    assert searcher.suggest("3") == Searcher.FINISHED
    assert ledger.spent == "failures.max_failed = 2 is reached" and ledger.is_broken
    assert ledger.board.counts() == {"failed": 2, "ready": 2}


def test_a_trial_names_the_machines_that_it_avoids(store: Store) -> None:
    nodes = [toy_node("target", f"target{i}") for i in range(5)]
    ledger = Ledger(make_plan(toy_sweep(*nodes), store), Durations(), lambda event: None)
    shapes = {stage: Resources(1, 0) for stage in STAGES}
    dispatch = Dispatch(
        ledger, store, Admission(lambda: [Resources(8, 0)]), shapes, fitting=lambda resources: ["a", "b"]
    )
    searcher = DagSearcher(dispatch)
    for attempt in range(3):
        found = searcher.suggest(f"{attempt}")
        assert isinstance(found, dict) and "avoided" not in found
        dispatch.close(f"{attempt}", lost="its worker died", place=Place("a", "host a"))
    found = searcher.suggest("next")
    assert isinstance(found, dict) and found["avoided"] == ("a",)
