"""How a search stands, from its storage alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from dwp_sweep.cli import main
from dwp_sweep.config.node import Node, entries_of
from dwp_sweep.harness.search.study import Study
from dwp_sweep.harness.search.study_database import open_storage, storage_url
from dwp_sweep.harness.view.search_status import BestTrial, SearchStatus, search_status
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import record_nodes, record_settings
from tests.harness.toy_search import search_space

SETTINGS: Mapping[str, Any] = {
    "grid": {"train_size": [5, 10], "split": [0, 1, 2]},
    "search": {"x": {"kind": "int", "low": 1, "high": 3}},
    "searcher": {"n_trials": 3},
    "objective": [{"metric": "val_dice", "over": ["split"]}],
}


def begun(root: Path, nodes: list[Node] | None = None) -> Store:
    store = LocalStore(root)
    record_settings(store, "toy", SETTINGS)
    record_nodes(store, "toy", entries_of(nodes or [], []))
    return store


def shown(store: Store) -> str:
    done = CliRunner().invoke(main, ["status", "toy", "--storage", str(store.root)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_before_its_first_trial_everything_of_a_search_is_to_come(tmp_path: Path) -> None:
    store = begun(tmp_path)
    assert search_status("toy", store) == SearchStatus(6, 6, 3)
    text = shown(store)
    assert "trials: 6 to come of 6" in text
    assert "nothing is left to do" not in text
    assert "time left: unknown, since nothing like its target networks was ever measured" in text


def test_trials_are_counted_by_state_and_the_best_of_each_study_is_named(tmp_path: Path) -> None:
    store, search = begun(tmp_path), search_space({"x": {"int": [1, 3]}}, n_trials=3, n_conditions=2)
    storage = open_storage(storage_url(store, "toy", None))
    study = Study(f"toy/{search.conditions[0].name}", search, search.conditions[0], storage)
    numbers = []
    for value in (0.25, 0.75, None):
        trial = study.ask()
        assert trial is not None
        numbers.append(trial)
        if value is None:
            study.prune(trial.number, "behind")
        else:
            study.complete(trial.number, [value])
    found = search_status("toy", store)
    best = BestTrial("condition=0", numbers[1].number, dict(numbers[1].values), "val_dice", 0.75)
    assert found == SearchStatus(6, 3, 3, {"complete": 2, "pruned": 1}, (best,))
    text = shown(store)
    assert "trials: 2 complete, 1 pruned, 3 to come of 6" in text
    x = numbers[1].values["x"]
    assert f"best so far: condition=0: trial {numbers[1].number} x={x}, val_dice 0.7500" in text
    values = json.loads(
        CliRunner().invoke(main, ["status", "toy", "--json", "--storage", str(store.root)]).stdout
    )
    assert values["search"]["best"][0]["value"] == 0.75


def test_a_study_without_new_values_has_nothing_to_come_and_a_retried_failure_counts_once(
    tmp_path: Path,
) -> None:
    store, search = begun(tmp_path), search_space({"x": {"int": [1, 2]}}, n_trials=3, n_conditions=2)
    storage = open_storage(storage_url(store, "toy", None))
    for condition in search.conditions:
        study = Study(f"toy/{condition.name}", search, condition, storage)
        first = study.ask()
        assert first is not None
        study.fail(first.number, "broken")
        study = Study(f"toy/{condition.name}", search, condition, storage)
        while study.n_to_ask and (trial := study.ask()) is not None:
            study.complete(trial.number, [0.5])
    found = search_status("toy", store)
    assert found is not None and found.n_by_state == {"complete": 4} and found.n_to_come == 0
    assert "nothing is left to do" not in shown(store), "no node of it is known"


def test_studies_that_cannot_be_read_are_told_and_a_sweep_without_a_search_has_none(tmp_path: Path) -> None:
    store = begun(tmp_path)
    record_settings(
        store, "toy", {**SETTINGS, "searcher": {"n_trials": 3, "storage": "sqlite:////no/such/x.db"}}
    )
    assert "its studies cannot be read: searcher.storage: no database of studies answers" in shown(store)
    record_settings(store, "toy", {"grid": {"split": [0]}})
    assert search_status("toy", store) is None
