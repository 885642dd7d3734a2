from __future__ import annotations

from pathlib import Path

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Event, Ledger
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.view.text import run_left_s
from dwp_sweep.store.local.store import LocalStore
from tests.harness.toy_stages import toy_node, toy_sweep

SOURCE = toy_node("source", "source")
OTHER = toy_node("source", "other")
PRIOR = toy_node("prior", "prior", [SOURCE, OTHER])
DEEP = toy_node("target", "deep", [PRIOR])
TUNED = toy_node("target", "tuned", [SOURCE])
FREE = toy_node("target", "free")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def ledger(tmp_path: Path, events: list[Event]) -> Ledger:
    plan = make_plan(toy_sweep(FREE, SOURCE, OTHER, PRIOR, DEEP, TUNED), LocalStore(tmp_path))
    return Ledger(plan, Durations(), events.append)


def work_on(ledger: Ledger, node: Node) -> None:
    ledger.hand_out(node, f"trial of {node.title}")
    ledger.started(f"trial of {node.title}")


def test_the_node_with_the_longest_way_to_go_comes_first(ledger: Ledger) -> None:
    assert ledger.board.ready() == [SOURCE, OTHER, FREE]


def test_a_child_is_ready_when_its_last_input_is_done(ledger: Ledger) -> None:
    ledger.published(SOURCE, 1.0, {})
    assert TUNED in ledger.board.ready() and PRIOR not in ledger.board.ready()
    ledger.published(OTHER, 1.0, {})
    assert ledger.board.ready()[0] == PRIOR


def test_a_node_is_handed_out_once(ledger: Ledger) -> None:
    work_on(ledger, SOURCE)
    assert SOURCE not in ledger.board.ready()
    with pytest.raises(ValueError, match="running, not ready"):
        ledger.hand_out(SOURCE, "another trial")


def test_a_failure_blocks_its_descendants_and_nothing_else(ledger: Ledger, events: list[Event]) -> None:
    ledger.failed(OTHER, "diverged")
    assert ledger.board.in_state("blocked") == [PRIOR, DEEP]
    assert ledger.board.ready() == [SOURCE, FREE]
    assert ledger.messages == {OTHER.key: "diverged"}
    assert [(event.kind, event.node) for event in events] == [
        ("failed", OTHER), ("blocked", PRIOR), ("blocked", DEEP),
    ]  # fmt: skip


def test_the_board_is_finished_when_nothing_is_in_hand_and_nothing_can_start(ledger: Ledger) -> None:
    ledger.failed(OTHER, "diverged")
    for node in (SOURCE, TUNED, FREE):
        assert not ledger.is_finished
        work_on(ledger, node)
        assert not ledger.is_finished
        ledger.published(node, 1.0, {})
    assert ledger.is_finished


def test_draining_hands_out_nothing_and_waits_for_what_is_in_hand(ledger: Ledger) -> None:
    work_on(ledger, SOURCE)
    ledger.drain()
    assert ledger.board.ready() == [] and not ledger.is_finished
    ledger.stopped(SOURCE)
    assert ledger.is_finished and ledger.board.counts()["ready"] == 3


def test_only_a_node_that_has_done_epochs_is_said_to_stop_at_its_checkpoint(
    ledger: Ledger, events: list[Event]
) -> None:
    for node in (SOURCE, OTHER):
        work_on(ledger, node)
    ledger.progressed(f"trial of {SOURCE.title}", 1, 5, {})
    ledger.stopped(SOURCE)
    ledger.stopped(OTHER)
    assert [event.node for event in events if event.kind == "stopped"] == [SOURCE]


def test_a_node_that_goes_back_can_be_handed_out_again(ledger: Ledger) -> None:
    work_on(ledger, SOURCE)
    ledger.retry(SOURCE, "worker lost")
    work_on(ledger, SOURCE)
    ledger.published(SOURCE, 1.0, {})
    assert ledger.in_hand.work == {} and ledger.board.states[SOURCE.key] == "done"


def test_word_of_a_trial_that_has_nothing_in_hand_is_ignored(ledger: Ledger, events: list[Event]) -> None:
    ledger.started("unknown")
    ledger.progressed("unknown", 1, 2, {})
    assert events == []


def test_time_left_is_unknown_until_something_is_measured(ledger: Ledger) -> None:
    work_on(ledger, SOURCE)
    assert run_left_s(ledger, 1) is None


def test_time_left_shares_the_work_among_the_slots_but_never_undercuts_the_longest_node(
    ledger: Ledger,
) -> None:
    for node, seconds in (
        (SOURCE, 10.0),
        (OTHER, 10.0),
        (PRIOR, 10.0),
        (DEEP, 10.0),
        (TUNED, 10.0),
        (FREE, 10.0),
    ):
        ledger.durations.observe(node, seconds)
    assert run_left_s(ledger, 2) == pytest.approx(30.0)
    assert run_left_s(ledger, 1) == pytest.approx(60.0)
    work_on(ledger, SOURCE)
    many_slots = run_left_s(ledger, 1000)
    assert many_slots is not None and 9.0 < many_slots <= 10.0


def test_a_node_of_another_run_is_waited_for_without_being_handed_out(
    ledger: Ledger, events: list[Event]
) -> None:
    ledger.left_to(SOURCE, "another run on host (sweep s)")
    assert SOURCE not in ledger.board.ready() and ledger.leased_by_others() == [SOURCE]
    for node in (OTHER, FREE):
        work_on(ledger, node)
        ledger.published(node, 1.0, {})
    assert not ledger.is_finished
    ledger.published(SOURCE, 2.0, {}, by_other=True)
    assert ledger.board.states[SOURCE.key] == "cached" and ledger.board.ready() == [PRIOR, TUNED]
    assert ledger.builders == {} and [event.kind for event in events if event.node == SOURCE] == [
        "leased_by_other", "published_by_other",
    ]  # fmt: skip


def test_something_broken_outside_ends_the_run_and_is_no_budget(ledger: Ledger) -> None:
    work_on(ledger, SOURCE)
    ledger.start_no_more("the storage cannot be written", is_broken=True)
    assert ledger.board.heads() == [] and not ledger.is_finished and ledger.is_broken
    ledger.retry(SOURCE, "no space left")
    assert ledger.is_finished and ledger.spent
