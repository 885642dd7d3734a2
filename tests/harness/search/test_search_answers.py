"""What a search says afterwards: rows of its studies, importances, the files that it leaves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from dwp_sweep.config.search.definition import SearchSpace
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.search.importance import importances, study_importance
from dwp_sweep.harness.search.search_plan import SearchPlan
from dwp_sweep.harness.search.study import Study
from dwp_sweep.harness.search.study_database import open_storage, read_trials, storage_url
from dwp_sweep.harness.view.text import progress_counts, summary
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.read.trials import (
    SearchTrials,
    importance_as_json,
    importances_from_json,
    trials_from_json,
)
from tests.harness.toy_search import build, search_space, search_sweep


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path)


def asked(store: Store, search: SearchSpace, results: dict[int, Any]) -> SearchTrials:
    """A study in the sweep's own folder whose trials end as told: results, ``None`` failed, a dict pruned."""
    store.sweep_dir("toy")
    study = Study("toy/all", search, search.conditions[0], open_storage(storage_url(store, "toy", None)))
    for result in results.values():
        one = study.ask()
        assert one is not None
        if result is None:
            study.fail(one.number, "broken")
        elif isinstance(result, dict):
            study.report(one.number, result)
            study.prune(one.number, "behind")
        else:
            study.complete(one.number, result)
    found = read_trials("toy", store)
    assert found is not None
    return found


def test_rows_tell_ranges_states_and_what_was_reached(store: Store) -> None:
    space = {
        "lr": {"float": [1e-5, 1e-1], "log": True},
        "n": {"int": [2, 8]},
        "blocks": {"choice": [["a"], None]},
    }
    found = asked(store, search_space(space, n_trials=4), {0: [0.5], 1: None, 2: {1: 0.2, 3: 0.4}, 3: [0.7]})
    assert [row.state for row in found.trials] == ["complete", "failed", "pruned", "complete"]
    assert found.trials[2].reached == 0.4 and found.trials[1].reason == "broken"
    lr, n, blocks = found.parameters
    assert (lr.name, lr.low, lr.high, lr.is_log) == ("lr", 1e-5, 1e-1, True)
    assert (n.low, n.high, n.is_log) == (2.0, 8.0, False) and found.is_whole("n") and not found.is_whole("lr")
    assert blocks.choices == ('["a"]', "null")
    best = found.best("all")
    assert best is not None and best.number == 3
    assert found.counts() == {"complete": 2, "pruned": 1, "failed": 1, "open": 0}


def test_rows_survive_their_file_whatever_the_numbers(store: Store) -> None:
    search = search_space(n_trials=2, objectives=("val_dice", "hours"))
    found = asked(store, search, {0: [0.5, 1.0], 1: [0.6, math.inf]})
    assert trials_from_json(found.to_json()) == found
    with pytest.raises(ValueError, match="no trials"):
        trials_from_json("{}")


def test_curves_come_from_the_records_of_the_networks(store: Store) -> None:
    sweep = search_sweep(search_space({"x": {"float": [0, 10]}}, n_trials=1), n_epochs=3)
    ledger = Ledger(make_plan(sweep, store), Durations(), lambda event: None)
    search = SearchPlan(sweep, store, ledger)
    assert summary(ledger) == "search: 1 configuration to try in 1 study"
    assert progress_counts(ledger) == (0, 1)
    while search.start_next():
        pass
    for key in list(sweep.nodes):
        build(store, sweep.nodes[key])
    found = read_trials("toy", store)
    assert found is not None and found.trials[0].state == "open"
    curve = found.trials[0].curves[0]
    assert [epoch for epoch, _ in curve] == [1, 2, 3]
    assert curve[-1][1] == pytest.approx(0.9 - 0.01 * abs(found.trials[0].values["x"] - 3.0))


def test_a_sweep_without_a_study_has_neither_rows_nor_importances(store: Store) -> None:
    assert read_trials("toy", store) is None
    assert importances("toy", store) == ()


def study_with(n_complete: int, n_pruned: int = 0, mode: str = "minimize") -> optuna.Study:
    """``a`` decides, ``b`` does nothing."""
    study = optuna.create_study(direction=mode, sampler=optuna.samplers.RandomSampler(seed=0))
    sign = 1.0 if mode == "minimize" else -1.0
    for number in range(n_complete + n_pruned):
        trial = study.ask()
        a, b = trial.suggest_float("a", 0, 1), trial.suggest_float("b", 0, 1)
        trial.set_user_attr("values", {"a": a, "b": b})
        is_pruned = number >= n_complete
        state = optuna.trial.TrialState.PRUNED if is_pruned else optuna.trial.TrialState.COMPLETE
        study.tell(trial, None if is_pruned else sign * (a - 0.3) ** 2, state=state)
    return study


@pytest.mark.parametrize("mode", ["minimize", "maximize"])
def test_the_parameter_that_decides_is_the_important_one_either_way(mode: str) -> None:
    found = study_importance(study_with(60, mode=mode), 0, "val_loss", "all")
    assert list(found.shares) == ["a", "b"] and found.shares["a"] > 0.8
    assert sum(found.shares.values()) == pytest.approx(1.0) and found.note == ""
    assert importances_from_json(importance_as_json((found,))) == (found,)


def test_too_few_configurations_are_said_and_not_hidden_behind_numbers() -> None:
    found = study_importance(study_with(4, n_pruned=20), 0, "val_loss", "all")
    assert not found.shares and "too few configurations: 24 have ended, 4 of them complete" in found.note
    rough = study_importance(study_with(12), 0, "val_loss", "all")
    assert rough.shares and rough.note.startswith("rough")


def test_given_up_configurations_count_as_tried_and_never_as_the_best() -> None:
    """Everything with a > 0.2 was given up, the rest got results at random: only `a` says what is good."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    draws = np.random.default_rng(0)
    for _ in range(100):
        trial = study.ask()
        a, b = trial.suggest_float("a", 0, 1), trial.suggest_float("b", 0, 1)
        trial.set_user_attr("values", {"a": a, "b": b})
        if a > 0.2:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, float(draws.random()))
    found = study_importance(study, 0, "val_loss", "all")
    assert found.shares["a"] > 0.7 and found.n_pruned > 60
