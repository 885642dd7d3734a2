from __future__ import annotations

from pathlib import Path

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import Estimate
from dwp_sweep.harness.dag.board import Board
from dwp_sweep.harness.dag.events import Event
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.store.protocol import Store
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
def board(tmp_path: Path, events: list[Event]) -> Board:
    plan = make_plan(toy_sweep(FREE, SOURCE, OTHER, PRIOR, DEEP, TUNED), Store(tmp_path))
    return Board(plan, Estimate(), events.append)


def work_on(board: Board, node: Node) -> None:
    board.hand_out(node, f"trial of {node.title}")
    board.started(f"trial of {node.title}")


def test_the_node_with_the_longest_way_to_go_comes_first(board: Board) -> None:
    assert board.ready() == [SOURCE, OTHER, FREE]


def test_a_child_is_ready_when_its_last_input_is_done(board: Board) -> None:
    board.done(SOURCE, 1.0, {})
    assert TUNED in board.ready() and PRIOR not in board.ready()
    board.done(OTHER, 1.0, {})
    assert board.ready()[0] == PRIOR


def test_a_node_is_handed_out_once(board: Board) -> None:
    work_on(board, SOURCE)
    assert SOURCE not in board.ready()
    with pytest.raises(ValueError, match="running, not ready"):
        board.hand_out(SOURCE, "another trial")


def test_a_failure_blocks_its_descendants_and_nothing_else(board: Board, events: list[Event]) -> None:
    board.failed(OTHER, "diverged")
    assert board.in_state("blocked") == [PRIOR, DEEP]
    assert board.ready() == [SOURCE, FREE]
    assert board.messages == {OTHER.key: "diverged"}
    assert [(event.kind, event.node) for event in events] == [
        ("failed", OTHER), ("blocked", PRIOR), ("blocked", DEEP),
    ]  # fmt: skip


def test_the_board_is_finished_when_nothing_is_in_hand_and_nothing_can_start(board: Board) -> None:
    board.failed(OTHER, "diverged")
    for node in (SOURCE, TUNED, FREE):
        assert not board.is_finished
        work_on(board, node)
        assert not board.is_finished
        board.done(node, 1.0, {})
    assert board.is_finished


def test_draining_hands_out_nothing_and_waits_for_what_is_in_hand(board: Board) -> None:
    work_on(board, SOURCE)
    board.drain()
    assert board.ready() == [] and not board.is_finished
    board.stopped(SOURCE)
    assert board.is_finished and board.counts()["ready"] == 3


def test_only_a_node_that_has_done_epochs_is_said_to_stop_at_its_checkpoint(
    board: Board, events: list[Event]
) -> None:
    for node in (SOURCE, OTHER):
        work_on(board, node)
    board.progressed(f"trial of {SOURCE.title}", 1, 5, {})
    board.stopped(SOURCE)
    board.stopped(OTHER)
    assert [event.node for event in events if event.kind == "stopped"] == [SOURCE]


def test_a_node_that_goes_back_can_be_handed_out_again(board: Board) -> None:
    work_on(board, SOURCE)
    board.again(SOURCE, "worker lost")
    work_on(board, SOURCE)
    board.done(SOURCE, 1.0, {})
    assert board.work == {} and board.states[SOURCE.key] == "done"


def test_word_of_a_trial_that_has_nothing_in_hand_is_ignored(board: Board, events: list[Event]) -> None:
    board.started("unknown")
    board.progressed("unknown", 1, 2, {})
    assert events == []


def test_time_left_is_unknown_until_something_is_measured(board: Board) -> None:
    work_on(board, SOURCE)
    assert board.time_left_s(1) is None


def test_time_left_shares_the_work_among_the_slots_but_never_undercuts_the_longest_node(board: Board) -> None:
    for node, seconds in (
        (SOURCE, 10.0),
        (OTHER, 10.0),
        (PRIOR, 10.0),
        (DEEP, 10.0),
        (TUNED, 10.0),
        (FREE, 10.0),
    ):
        board.estimate.observe(node, seconds)
    assert board.time_left_s(2) == pytest.approx(30.0)
    assert board.time_left_s(1) == pytest.approx(60.0)
    work_on(board, SOURCE)
    many_slots = board.time_left_s(1000)
    assert many_slots is not None and 9.0 < many_slots <= 10.0


def test_a_node_of_another_run_is_waited_for_without_being_handed_out(
    board: Board, events: list[Event]
) -> None:
    board.left_to(SOURCE, "another run on host (sweep s)")
    assert SOURCE not in board.ready() and board.elsewhere() == [SOURCE]
    for node in (OTHER, FREE):
        work_on(board, node)
        board.done(node, 1.0, {})
    assert not board.is_finished
    board.found(SOURCE, 2.0, {})
    assert board.states[SOURCE.key] == "cached" and board.ready() == [PRIOR, TUNED]
    assert board.builders == {} and [event.kind for event in events if event.node == SOURCE] == [
        "elsewhere", "found",
    ]  # fmt: skip


def test_something_broken_outside_ends_the_run_and_is_no_budget(board: Board) -> None:
    work_on(board, SOURCE)
    board.give_up("the storage cannot be written")
    assert board.heads() == [] and not board.is_finished and board.is_broken
    board.again(SOURCE, "no space left")
    assert board.is_finished and board.spent
