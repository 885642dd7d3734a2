"""Nodes that stand still: on paper with a clock of its own, and frozen workers of a real Ray."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import FailuresConfig, ResourcesConfig, RetriesConfig
from dwp_sweep.errors import InputError
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.dag.in_hand import InHand
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.harness.stalls import StallRule, require_reachable, silence_limit_s
from dwp_sweep.harness.stopping import cancel_sweep
from dwp_sweep.harness.view.text import silence_text
from dwp_sweep.store.heartbeat import live_runs
from dwp_sweep.store.local.store import LocalStore
from tests.harness.test_run import Witness
from tests.harness.toy_stages import STAGES, log_lines, runs_of, toy_node, toy_sweep

NODE, OTHER = Node("one", "target", {}), Node("two", "target", {})
MINUTE_S = 60.0
CONFIG = FailuresConfig()


class Hands:
    """Work in hand under a clock that passes when told to."""

    def __init__(self, config: FailuresConfig = CONFIG, max_hours: float | None = None) -> None:
        self.now_s = 0.0
        self.in_hand = InHand(lambda: self.now_s)
        self.rule = StallRule(self.in_hand, config, {"target": ResourcesConfig(max_hours=max_hours)})

    def begin(self, node: Node = NODE) -> None:
        self.in_hand.take(node, node.key)
        self.in_hand.begin(node.key)

    def epochs(self, n: int, epoch_s: float, node: Node = NODE) -> None:
        first = self.in_hand.work[node.key].epoch
        for epoch in range(first + 1, first + n + 1):
            self.now_s += epoch_s
            self.in_hand.progressed(node.key, epoch, 1000, {})


def test_a_node_has_stalled_after_twenty_median_epochs_and_not_before_an_hour() -> None:
    assert silence_limit_s(CONFIG, 10 * MINUTE_S) == 200 * MINUTE_S
    assert silence_limit_s(CONFIG, 1.0) == 60 * MINUTE_S
    assert silence_limit_s(CONFIG, None) is None
    assert silence_limit_s(FailuresConfig(stalled_epochs=None), 1.0) is None


def test_a_silence_is_judged_by_the_nodes_own_epochs_and_any_sign_of_life_ends_it() -> None:
    hands = Hands()
    hands.begin()
    hands.epochs(6, 10 * MINUTE_S)
    hands.now_s += 200 * MINUTE_S
    assert not hands.rule.stalled()
    hands.now_s += 1.0
    (reason,) = hands.rule.stalled().values()
    assert reason.startswith("stalled: no sign of life for 200 min, where an epoch takes 600 s")
    hands.in_hand.reads("one", 3, 40, "scoring")
    assert not hands.rule.stalled()
    hands.now_s += 201 * MINUTE_S
    assert hands.rule.stalled()
    hands.epochs(1, 0.0)
    assert not hands.rule.stalled()


def test_one_slow_epoch_does_not_move_the_median() -> None:
    hands = Hands()
    hands.begin()
    hands.epochs(5, MINUTE_S)
    hands.epochs(1, 50 * MINUTE_S)
    assert hands.in_hand.epoch_s(hands.in_hand.work["one"]) == MINUTE_S


def test_a_node_without_epochs_is_judged_by_the_slowest_of_its_stage_else_not_at_all() -> None:
    hands = Hands()
    hands.begin()
    hands.now_s = 1e9
    assert not hands.rule.stalled(), "nothing was ever measured"
    hands.begin(OTHER)
    hands.epochs(8, 10 * MINUTE_S, OTHER)
    assert list(hands.rule.stalled()) == ["one"]


def test_a_queued_node_and_one_that_begins_anew_have_not_stalled() -> None:
    hands = Hands()
    hands.begin()
    hands.epochs(8, MINUTE_S)
    hands.now_s += 1e6
    assert hands.rule.stalled()
    hands.in_hand.begin("one")  # in a new worker
    assert not hands.rule.stalled()
    hands.in_hand.take(OTHER, "two")
    hands.now_s += 1e6
    assert list(hands.rule.stalled()) == ["one"]


def test_an_attempt_beyond_its_hours_has_stalled_however_lively_it_is() -> None:
    hands = Hands(max_hours=0.5)
    hands.begin()
    hands.epochs(30, MINUTE_S)
    assert not hands.rule.stalled()
    hands.epochs(1, 1.0)
    assert hands.rule.stalled() == {"one": "stalled: it ran for more than resources.target.max_hours = 0.5"}


def test_other_terminals_see_a_silence_long_before_it_ends_a_node() -> None:
    hands = Hands()
    hands.begin()
    hands.epochs(5, MINUTE_S)
    (entry,) = hands.in_hand.entries()
    assert not silence_text(entry)
    hands.now_s += 6 * MINUTE_S
    (entry,) = hands.in_hand.entries()
    assert silence_text(entry) == "no sign of life for 6 min 00 s, where an epoch takes 1 min 00 s"
    assert not silence_text({"key": "of an earlier version"})


def test_a_limit_below_one_epoch_is_refused_before_anything_starts(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    node = toy_node("target", "measured", n_epochs=4, epoch_s=0.02)
    run_node(node, STAGES["target"], store)
    require_reachable({"target": ResourcesConfig(max_hours=1.0)}, store)
    require_reachable({"source": ResourcesConfig(max_hours=1e-9)}, store)  # nothing is known of sources
    with pytest.raises(InputError, match=r"resources\.target\.max_hours = 1e-09.*below one epoch"):
        require_reachable({"target": ResourcesConfig(max_hours=1e-9)}, store)


@pytest.mark.slow
def test_a_frozen_worker_is_killed_and_its_node_goes_on_from_its_checkpoint(
    ray_cluster: None, tmp_path: Path
) -> None:
    log, store, witness = tmp_path / "log.txt", LocalStore(tmp_path / "storage"), Witness()
    frozen = toy_node("target", "frozen", (), log, behaviour="freezes once", n_epochs=8, epoch_s=0.7)
    # The start of a worker counts as silence, too: on a busy machine it is killed some more times.
    failures = FailuresConfig(stalled_epochs=3, stalled_minutes=0.2, retries=RetriesConfig(stalled=100))
    sweep = replace(toy_sweep(frozen), failures=failures)
    outcome = run_sweep(sweep, store, progress=witness, stages=STAGES)
    assert outcome.exit_code == 0 and [row.host for row in outcome.by_host] == [socket.gethostname()]
    assert [what for _, what, _ in log_lines(log) if what.startswith("epoch")] == [
        f"epoch {n}" for n in range(1, 9)
    ]
    assert len(runs_of(log)) >= 2
    again = [event.text for event in witness.events if event.kind == "retry"]
    assert again and all(text.startswith("stalled: no sign of life for") for text in again)
    assert len([event for event in witness.events if event.kind == "stalled"]) == len(again)


@pytest.mark.slow
def test_a_run_whose_nodes_hang_ends_at_once_when_another_terminal_says_now(
    ray_cluster: None, tmp_path: Path
) -> None:
    log, store = tmp_path / "log.txt", LocalStore(tmp_path / "storage")
    hanging = toy_node("target", "hanging", (), log, n_epochs=1, epoch_s=600.0)

    def elsewhere() -> None:
        while not runs_of(log):
            time.sleep(0.05)
        cancel_sweep("toy", store, at_once=True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    started_s = time.monotonic()
    outcome = run_sweep(toy_sweep(hanging), store, stages=STAGES)
    thread.join()
    assert outcome.exit_code == 130 and time.monotonic() - started_s < 300.0
    assert not live_runs(store) and not list(store.root.glob("sweeps/toy/now-*"))
