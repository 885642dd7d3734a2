"""Studies by themselves, in memory."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dwp_sweep.config.search.definition import SearchSpace
from dwp_sweep.errors import InputError
from dwp_sweep.harness.search.study import SAME_AS, Study
from dwp_sweep.harness.search.study_database import open_storage, study_name
from tests.harness.toy_search import search_space

EVERYTHING = {
    "whole": {"int": [2, 16], "step": 4},
    "log_whole": {"int": [1, 64], "log": True},
    "real": {"float": [0, 1], "step": 0.25},
    "log_real": {"float": [1e-6, 1e-2], "log": True},
    "blocks": {"choice": [["out"], ["up3", "out"], None, True, 1]},
}


@pytest.fixture
def storage() -> optuna.storages.BaseStorage:
    return optuna.storages.InMemoryStorage()


def study_of(search: SearchSpace, storage: optuna.storages.BaseStorage) -> Study:
    return Study("s/all", search, search.conditions[0], storage)


def check(values: dict[str, Any]) -> None:
    assert set(values) == set(EVERYTHING)
    assert values["whole"] in (2, 6, 10, 14) and 1 <= values["log_whole"] <= 64
    assert values["real"] in (0, 0.25, 0.5, 0.75, 1) and 1e-6 <= values["log_real"] <= 1e-2
    assert values["blocks"] in (["out"], ["up3", "out"], None, True, 1)


@pytest.mark.parametrize("kind", ["tpe", "random", "nsga2", "gp"])
def test_every_sampler_keeps_to_ranges_steps_and_choices(
    storage: optuna.storages.BaseStorage, kind: str
) -> None:
    study = study_of(search_space(EVERYTHING, n_trials=5, kind=kind), storage)
    for _ in range(5):
        asked = study.ask()
        assert asked is not None
        check(dict(asked.values))
        study.complete(asked.number, [float(asked.values["whole"])])
    assert study.n_to_ask == 0


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_steps_lead_to_the_numbers_that_one_would_write(
    storage: optuna.storages.BaseStorage, kind: str, recwarn: pytest.WarningsRecorder
) -> None:
    tenths = {"x": {"float": [0, 0.7], "step": 0.1}, "y": {"float": [0.003, 0.009], "step": 0.003}}
    study = study_of(search_space(tenths, n_trials=24, kind=kind), storage)
    while (asked := study.ask() if study.n_to_ask else None) is not None:
        assert asked.values["x"] in [float(f"0.{n}") for n in range(8)]  # and not 0.30000000000000004
        assert asked.values["y"] in (0.003, 0.006, 0.009)
        study.complete(asked.number, [asked.values["x"]])
    assert study.n_asked == 24 and not [one for one in recwarn if "divisible" in str(one.message)]


def test_a_point_that_the_sampler_repeats_costs_nothing_and_does_not_count(
    storage: optuna.storages.BaseStorage,
) -> None:
    study = study_of(search_space({"x": {"int": [1, 4]}}, n_trials=4), storage)
    seen = []
    while study.n_to_ask:
        asked = study.ask()
        assert asked is not None
        seen.append(asked.values["x"])
        study.complete(asked.number, [1.0 if asked.values["x"] == 1 else 0.0])
    assert sorted(seen) == [1, 2, 3, 4]
    trials = optuna.load_study(study_name="s/all", storage=storage).get_trials()
    repeated = [trial for trial in trials if SAME_AS in trial.user_attrs]
    assert repeated and {trial.state for trial in trials} == {TrialState.COMPLETE}, "a repeat is no failure"
    assert all(trial.value == trials[trial.user_attrs[SAME_AS]].value for trial in repeated)
    assert len(trials) - len(repeated) == 4


def test_a_pruned_trial_keeps_its_last_value_and_its_reason(storage: optuna.storages.BaseStorage) -> None:
    study = study_of(search_space(n_trials=2), storage)
    asked = study.ask()
    assert asked is not None
    study.report(asked.number, {1: 0.1, 2: 0.3})
    study.prune(asked.number, "worse")
    trial = optuna.load_study(study_name="s/all", storage=storage).get_trials()[0]
    assert (trial.state, trial.value, trial.user_attrs["reason"]) == (TrialState.PRUNED, 0.3, "worse")
    study.complete(asked.number, [0.9])  # another driver's word comes late
    assert study.configurations()[0].state == "pruned"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (search_space(objectives=("val_loss",)), "search.source and objective"),
        (search_space({"source": {"choice": [0, 1, 2]}}), "search.source"),
    ],
)
def test_a_study_refuses_to_go_on_with_another_question(
    storage: optuna.storages.BaseStorage, other: SearchSpace, words: str
) -> None:
    study_of(search_space({"source": {"choice": [0, 1]}}), storage)
    with pytest.raises(InputError, match=f"begun with another {words}.*another name"):
        study_of(other, storage)


def test_a_study_goes_on_with_wider_ranges(storage: optuna.storages.BaseStorage) -> None:
    for high in (3, 30):
        study = study_of(search_space({"x": {"int": [1, high]}}, n_trials=high), storage)
        asked = study.ask()
        assert asked is not None
        study.complete(asked.number, [0.0])
    assert study.n_asked == 2


def test_a_long_name_is_cut_and_stays_itself() -> None:
    long, other = study_name("s", "a" * 600), study_name("s", "a" * 601)
    assert len(long) < 512 and long != other and long == study_name("s", "a" * 600)


def test_a_database_that_does_not_answer_is_told_by_its_key() -> None:
    with pytest.raises(InputError, match=r"searcher\.storage: no database of studies answers"):
        open_storage("sqlite:////no/such/folder/optuna.db")


def test_a_database_whose_driver_is_not_installed_is_told_so() -> None:
    with pytest.raises(InputError, match="install its driver"):
        open_storage("oracle+oracledb://host/studies")
