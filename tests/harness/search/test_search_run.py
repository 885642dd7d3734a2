"""Searches on a real local Ray: what Tune stops reaches store and study; a killed driver's search goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dwp_sweep.config.node import Node
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.dag.ledger import Outcome
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.harness.search.study import SAME_AS, VALUES
from dwp_sweep.store.heartbeat import Heartbeat
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from tests.harness.test_run import Witness
from tests.harness.toy_search import SEARCH_STAGES, search_space, search_sweep


def run(sweep: Sweep, store: Store) -> Outcome:
    return run_sweep(sweep, store, progress=Witness(), stages=SEARCH_STAGES)


def trials(store: Store, name: str) -> list[optuna.trial.FrozenTrial]:
    url = f"sqlite:///{store.root}/sweeps/toy/optuna.db"
    found = optuna.load_study(study_name=name, storage=url).get_trials()
    return [trial for trial in found if SAME_AS not in trial.user_attrs]


def test_a_search_builds_shared_stages_once_and_what_asha_stops_is_pruned_everywhere(
    ray_cluster: None, tmp_path: Path
) -> None:
    log, store = tmp_path / "log.txt", LocalStore(tmp_path / "storage")
    space = search_space(n_trials=6, scheduler={"kind": "asha", "grace_epochs": 1, "reduction_factor": 2})
    outcome = run(search_sweep(space, log), store)
    found = trials(store, "toy/all")
    states = Counter(trial.state for trial in found)
    assert states[TrialState.COMPLETE] >= 1 and states[TrialState.PRUNED] >= 1 and len(found) == 6
    counts = Counter(log.read_text().splitlines())
    assert set(counts.values()) == {1}
    assert outcome.exit_code == 0 and outcome.counts["pruned"] == states[TrialState.PRUNED]
    for trial in found:
        record = store.record("target", trial.user_attrs["nodes"][0])
        assert record is not None
        assert (record.status == "pruned") == (trial.state == TrialState.PRUNED)
        assert store.is_published("target", record.key) == (trial.state == TrialState.COMPLETE)
        if trial.state == TrialState.PRUNED:
            assert len(record.history) == trial.last_step < 9

    n_lines = len(log.read_text().splitlines())
    again = run(search_sweep(space, log), store)
    assert again.exit_code == 0 and len(log.read_text().splitlines()) == n_lines


def test_configurations_that_make_no_experiment_are_told_and_end_with_exit_code_1(
    ray_cluster: None, tmp_path: Path
) -> None:
    store, sweep, witness = (
        LocalStore(tmp_path / "storage"),
        search_sweep(search_space(n_trials=4)),
        Witness(),
    )
    resolve = sweep.resolve
    assert resolve is not None

    def fussy(values: Mapping[str, Any], place: int, trial: int | None = None) -> Node:
        if values["source"] == 1:
            raise InputError(Problem("search", "source 1 goes with nothing"))
        return resolve(values, place, trial)

    outcome = run_sweep(replace(sweep, resolve=fussy), store, progress=witness, stages=SEARCH_STAGES)
    failed = [one for one in trials(store, "toy/all") if one.state == TrialState.FAIL]
    assert failed and all("goes with nothing" in one.user_attrs["reason"] for one in failed)
    assert (outcome.exit_code, outcome.counts["failed"]) == (1, len(failed))


SCRIPT = """
import sys
from pathlib import Path
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.heartbeat import Heartbeat
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from tests.harness.toy_search import SEARCH_STAGES, search_space, search_sweep
sweep = search_sweep(search_space(n_trials=5), sys.argv[2], epoch_s=0.2)
run_sweep(sweep, LocalStore(Path(sys.argv[1])), stages=SEARCH_STAGES)
"""


@pytest.mark.slow
def test_a_search_whose_driver_is_killed_goes_on_without_repeating_a_point(
    ray_cluster: None, tmp_path: Path
) -> None:
    root, log = tmp_path / "storage", tmp_path / "log.txt"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(root), str(log)], start_new_session=True)
    while not log.exists() or log.read_text().count("target") < 2:
        assert process.poll() is None
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    store = LocalStore(root)
    before = [trial.user_attrs[VALUES] for trial in trials(store, "toy/all")]
    assert any(trial.state == TrialState.RUNNING for trial in trials(store, "toy/all"))
    assert run(search_sweep(search_space(n_trials=5), log, epoch_s=0.2), store).exit_code == 0
    found = trials(store, "toy/all")
    after = [trial.user_attrs[VALUES] for trial in found]
    assert after[: len(before)] == before
    assert len({str(values) for values in after}) == len(after) == 5
    assert {trial.state for trial in found} == {TrialState.COMPLETE}


def test_a_search_that_another_driver_runs_is_not_run_beside_it(tmp_path: Path) -> None:
    store, sweep = LocalStore(tmp_path / "storage"), search_sweep(search_space(n_trials=2))
    with Heartbeat(store, sweep.name, "other"), pytest.raises(InputError, match="runs this search already"):
        run(sweep, store)
