"""A search that begins with what an earlier sweep found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dwp_sweep.config.search.definition import SearchSpace
from dwp_sweep.errors import InputError
from dwp_sweep.harness.search.study import Study
from dwp_sweep.harness.search.study_database import open_storage, read_trials, storage_url
from dwp_sweep.harness.search.warm_start import warm_starts
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from tests.harness.toy_search import search_space, search_sweep

FIELDS: Mapping[str, Any] = {"x": {"float": [0, 10]}, "source": {"choice": ["a", "b"]}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path)


def study_in(store: Store, sweep: str, search: SearchSpace, **more: Any) -> Study:
    store.sweep_dir(sweep)
    storage = open_storage(storage_url(store, sweep, None))
    condition = search.conditions[0]
    return Study(f"{sweep}/{condition.name}", search, condition, storage, **more)


def earlier(store: Store, search: SearchSpace, n: int = 5) -> list[dict[str, Any]]:
    """A study of sweep ``old``: complete trials, then one that was pruned and one that failed."""
    study, found = study_in(store, "old", search), []
    for place in range(n):
        trial = study.ask()
        assert trial is not None
        found.append(dict(trial.values))
        if place == n - 1:
            study.fail(trial.number, "broken")
        elif place == n - 2:
            study.report(trial.number, {1: 0.1, 2: 0.2})
            study.prune(trial.number, "behind")
        else:
            study.complete(trial.number, [float(place)] * len(search.objectives))
    return found


def warm_search(fields: Mapping[str, Any] = FIELDS, **more: Any) -> SearchSpace:
    return search_space(fields, warm_start="old", **more)


def test_the_sampler_knows_earlier_trials_which_count_neither_as_trials_nor_as_the_best(store: Store) -> None:
    values = earlier(store, search_space(FIELDS, n_trials=5))
    search = warm_search(n_trials=3)
    start = warm_starts(search_sweep(search), store)["all"]
    assert (len(start.trials), start.n_left_out) == (4, 0)
    study = study_in(store, "toy", search, warm=start)
    assert study.n_to_ask == 3 and study.configurations() == []
    trial = study.ask()
    assert trial is not None
    study.complete(trial.number, [0.5])
    url = storage_url(store, "toy", None)
    known = optuna.load_study(study_name="toy/all", storage=url).trials
    assert [one.state for one in known] == [TrialState.COMPLETE] * 3 + [
        TrialState.PRUNED,
        TrialState.COMPLETE,
    ]
    assert [one.params["x"] for one in known[:4]] == [one["x"] for one in values[:4]]
    assert (
        known[3].intermediate_values == {1: 0.1, 2: 0.2}
        and known[0].user_attrs["warm_start"] == "old, trial 0"
    )
    rows = read_trials("toy", store)
    assert rows is not None and [row.number for row in rows.trials] == [4]
    assert len(optuna.load_study(study_name="old/all", storage=storage_url(store, "old", None)).trials) == 5


def test_a_study_that_goes_on_does_not_take_the_trials_twice(store: Store) -> None:
    earlier(store, search_space(FIELDS, n_trials=5))
    search = warm_search()
    for _ in range(2):
        study_in(store, "toy", search, warm=warm_starts(search_sweep(search), store)["all"])
    url = storage_url(store, "toy", None)
    assert len(optuna.load_study(study_name="toy/all", storage=url).trials) == 4


def test_the_joint_model_of_the_sampler_uses_them(store: Store) -> None:
    """Ten earlier trials, more than the start at random: the first point is not what a cold study asks."""
    study = study_in(store, "old", search_space(FIELDS, n_trials=30))
    for _ in range(12):
        trial = study.ask()
        assert trial is not None
        study.complete(trial.number, [-abs(trial.values["x"] - 7.0)])
    search = warm_search(n_trials=30)
    warm = study_in(store, "toy", search, warm=warm_starts(search_sweep(search), store)["all"])
    asked = [warm.ask() for _ in range(4)]
    distances = [abs(trial.values["x"] - 7.0) for trial in asked if trial is not None]
    assert sum(distance < 2.5 for distance in distances) >= 3, distances


def test_values_that_the_new_search_never_suggests_are_left_out(store: Store) -> None:
    values = earlier(store, search_space(FIELDS, n_trials=5))
    high = sorted(one["x"] for one in values[:4])[1]
    search = warm_search({**FIELDS, "x": {"float": [0, high]}})
    start = warm_starts(search_sweep(search), store)["all"]
    assert (len(start.trials), start.n_left_out) == (2, 2)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (warm_search({"x": {"float": [0, 10]}}), r"other parameters: source \(choice there, not here\)"),
        (warm_search({**FIELDS, "y": {"int": [0, 3]}}), r"other parameters: y \(not there there, int\)"),
        (warm_search({**FIELDS, "x": {"int": [0, 10]}}), r"other parameters: x \(float there, int\)"),
        (
            warm_search(objectives=("val_loss",)),
            "searched for val_dice, and this sweep searches for val_loss",
        ),
        (warm_search(objectives=("val_dice", "gpu_hours")), "this sweep searches for val_dice, gpu_hours"),
        (warm_search(n_conditions=2), "has no study of a condition that this sweep has"),
        (search_space(FIELDS, warm_start="toy"), "is this sweep itself"),
        (search_space(FIELDS, warm_start="odl"), "no sweep 'odl' with studies.*did you mean 'old'"),
    ],
)
def test_what_an_earlier_sweep_cannot_tell_is_refused(store: Store, search: SearchSpace, words: str) -> None:
    earlier(store, search_space(FIELDS, n_trials=5))
    with pytest.raises(InputError, match=rf"searcher\.warm_start: .*{words}"):
        warm_starts(search_sweep(search), store)


def test_without_an_earlier_sweep_there_is_nothing(store: Store) -> None:
    assert warm_starts(search_sweep(search_space(FIELDS)), store) == {}
