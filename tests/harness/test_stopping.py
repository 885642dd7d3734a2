"""What stops a run: signals, another terminal, its budget, and a cluster that does not grow in time."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import BudgetConfig, ResourcesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.resources import Resources
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.harness.stopping import Interrupt, Patience, cancel_sweep
from dwp_sweep.harness.view.status import sweep_status
from dwp_sweep.stop_signals import STOP_SIGNALS
from dwp_sweep.store.heartbeat import live_runs
from dwp_sweep.store.local.store import LocalStore
from tests.harness.toy_stages import STAGES, log_lines, slow_sweep


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_drains_and_the_second_ends(tmp_path: Path, number: signal.Signals) -> None:
    stop_file, requests = tmp_path / "stop", []
    before = signal.getsignal(number)
    with Interrupt(stop_file, tmp_path / "now", lambda: requests.append(1)) as interrupt:
        assert not stop_file.exists()
        os.kill(os.getpid(), number)
        assert stop_file.exists() and interrupt.is_requested and requests == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert not stop_file.exists() and signal.getsignal(number) == before


def test_a_stop_file_that_cannot_be_written_at_the_signal_is_written_later(tmp_path: Path) -> None:
    stop_file = tmp_path / "folder" / "stop"
    with Interrupt(stop_file, tmp_path / "now", lambda: None) as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.is_requested and not stop_file.exists()
        stop_file.parent.mkdir()
        interrupt.mark()
        assert stop_file.exists()


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def board_with(*stages: str) -> Ledger:
    """A ledger whose nodes, one a stage, are all in the hands of trials that have not started."""
    nodes = {stage: Node(stage, stage, {}) for stage in stages}
    sweep = Sweep("growth", nodes, tuple(nodes), {stage: ResourcesConfig() for stage in stages})
    ledger = Ledger(Plan(sweep, dict.fromkeys(nodes, "ready")), Durations(), lambda event: None)
    for stage, node in nodes.items():
        ledger.hand_out(node, f"trial of {stage}")
    return ledger


SMALL, LARGE = Resources(1, 0), Resources(1, 1)


def test_patience_ends_after_the_limit_and_says_what_was_asked_and_what_there_is() -> None:
    clock, ledger = Clock(), board_with("target")
    patience = Patience({"target": LARGE}, lambda: [Resources(8, 0)], limit_s=60.0, now=clock)
    assert patience.over(ledger) == []
    clock.now_s = 59.0
    assert patience.over(ledger) == []
    clock.now_s = 60.0
    (problem,) = patience.over(ledger)
    assert problem.where == "resources.target"
    assert "asks for 1 CPUs and 1 GPUs; the largest machine has 8 and 0" in problem.what
    assert "none came within 60 s" in problem.what


def test_as_long_as_another_node_runs_or_may_start_nothing_is_lost_by_waiting() -> None:
    clock, ledger = Clock(), board_with("prior", "target")
    patience = Patience({"prior": SMALL, "target": LARGE}, lambda: [Resources(8, 0)], limit_s=60.0, now=clock)
    for _ in range(5):
        clock.now_s += 100.0
        assert patience.over(ledger) == []
    ledger.started("trial of prior")
    clock.now_s += 100.0
    assert patience.over(ledger) == []
    ledger.published(ledger.board.nodes["prior"], 1.0, {})
    assert patience.over(ledger) == []  # the clock starts only now
    clock.now_s += 60.0
    assert [problem.where for problem in patience.over(ledger)] == ["resources.target"]


def test_a_machine_that_comes_in_time_begins_the_wait_anew_when_it_goes() -> None:
    clock, ledger, machines = Clock(), board_with("target"), [Resources(8, 0)]
    patience = Patience({"target": LARGE}, lambda: machines, limit_s=60.0, now=clock)
    patience.over(ledger)
    clock.now_s = 50.0
    machines.append(Resources(8, 1))
    assert patience.over(ledger) == []
    machines.pop()
    clock.now_s = 70.0
    assert patience.over(ledger) == []
    clock.now_s = 131.0
    assert patience.over(ledger) != []


@pytest.mark.slow
def test_a_running_sweep_can_be_watched_and_cancelled_and_goes_on_later(
    ray_cluster: None, tmp_path: Path
) -> None:
    log, store, seen = tmp_path / "log.txt", LocalStore(tmp_path / "storage"), []

    def elsewhere() -> None:
        while not any(what == "epoch 3" for _, what, _ in log_lines(log)):
            time.sleep(0.05)
        for _ in range(20):  # the run's file is rewritten every two seconds
            status = sweep_status("toy", store)
            running = status.in_state("running")
            if running and all(node.n_epochs and node.epoch for node in running):
                break
            time.sleep(0.2)
        seen.append(status)
        cancel_sweep("toy", store)

    other = threading.Thread(target=elsewhere, daemon=True)
    other.start()
    sweep = slow_sweep(log)
    outcome = run_sweep(sweep, store, options=RunOptions(max_concurrent=2), stages=STAGES)
    other.join()
    assert outcome.exit_code == 130 and outcome.counts["waiting"] > 0
    running = seen[0].in_state("running")
    assert running and all(node.n_epochs == 40 and node.epoch >= 1 for node in running)
    assert live_runs(store) == []
    with pytest.raises(InputError, match="no run of this sweep"):
        cancel_sweep("toy", store)
    assert sweep_status("toy", store).counts.get("stopped", 0) >= 1


@pytest.mark.slow
def test_a_spent_budget_lets_running_nodes_finish_and_ends_with_3(ray_cluster: None, tmp_path: Path) -> None:
    log, store = tmp_path / "log.txt", LocalStore(tmp_path / "storage")
    sweep = replace(slow_sweep(log), budget=BudgetConfig(cpu_hours=1 / 3600))
    outcome = run_sweep(sweep, store, options=RunOptions(max_concurrent=2), stages=STAGES)
    assert (outcome.exit_code, outcome.counts["failed"]) == (3, 0)
    assert 1 <= outcome.counts["done"] <= 2 and outcome.counts["waiting"] == 4 - outcome.counts["done"]
    assert outcome.spent.startswith("budget.cpu_hours = ")
    ended = [name for name, what, _ in log_lines(log) if what == "end"]
    assert len(ended) == outcome.counts["done"], "what had begun went on to its end"
    assert not list(store.sweep_dir("toy").glob("hold-*"))
