"""A real run that is cancelled from elsewhere, and one that its budget stops."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dwp_sweep.config.sections import BudgetConfig
from dwp_sweep.errors import InputError
from dwp_sweep.harness.cancel import cancel_sweep
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.harness.view.status import sweep_status
from dwp_sweep.store.heartbeat import live_runs
from dwp_sweep.store.local.store import LocalStore
from tests.harness.toy_stages import STAGES, log_lines, slow_sweep


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
