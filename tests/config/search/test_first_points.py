"""Points that a search tries first: what is refused, and that they are the first trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from dwp_sweep.config.search.first_points import points_of
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import build_sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.search.study import Study
from tests.config.test_space import a_space, problems
from tests.config.test_sweep import SPACE
from tests.harness.toy_search import search_space

SEARCH: dict[str, Any] = {
    "method": {"choice": ["random_init", "deep_weight_prior"]},
    "target.lr": {"float": [1e-4, 1e-2], "log": True},
    "prior.latent_dim": {"int": [2, 16], "step": 2, "when": {"method": "deep_weight_prior"}},
}


def told(*points: Any, **values: Any) -> str:
    searcher = {"n_trials": 4, "try_first": list(points)}
    return problems(a_space(**{"search": SEARCH, "searcher": searcher, **values}))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"target.lr": 1.0}, r"try_first[0].target.lr = 1.0: search.target.lr never suggests it"),
        ({"target.lr": True}, r"try_first[0].target.lr = true: search.target.lr never suggests it"),
        ({"method": "fine_tune"}, 'it is one of "random_init", "deep_weight_prior"'),
        ({"method": "deep_weight_prior", "prior.latent_dim": 5}, "it is 2 to 16 in steps of 2"),
        ({"target.learning_rate": 1e-3}, r"try_first[0].target.learning_rate: nothing searches for it"),
        ({"target": {"lr": 1e-3, "patience": 3}}, r"try_first[0].target.patience: nothing searches for it"),
        ({}, "try_first[0] is empty"),
        (
            {"method": "random_init", "prior.latent_dim": 4},
            'search.prior.latent_dim applies only with method = "deep_weight_prior"',
        ),
        ({"prior.latent_dim": 4}, 'applies only with method = "deep_weight_prior"'),
    ],
)
def test_a_point_that_the_search_never_suggests_is_refused(point: dict[str, Any], words: str) -> None:
    assert words in told(point)


def test_all_problems_of_all_points_are_told_at_once() -> None:
    text = told({"target.lr": 5.0}, {"prior.latent_dim": 3}, {"target.lr": 5.0}, {"x": 1}, {"y": 1})
    assert "try_first has 5 points, and searcher.n_trials is 4" in text
    assert "try_first[2] is the same as searcher.try_first[0]" in text
    assert "try_first[1].prior.latent_dim = 3" in text and "try_first[3].x" in text


def test_a_when_may_be_fulfilled_by_the_grid_and_points_of_other_conditions_are_left_out() -> None:
    search = {key: field for key, field in SEARCH.items() if key != "method"}
    points = [{"prior.latent_dim": 4}, {"target": {"lr": 0.001}}]
    space = load_space(
        a_space(
            grid={"method": ["random_init", "deep_weight_prior"]},
            search=search,
            searcher={"n_trials": 4, "try_first": points},
        )
    )
    assert space.search is not None
    plain, dwp = space.search.conditions
    assert points_of(space.search, plain) == [{"target.lr": 0.001}]
    assert points_of(space.search, dwp) == [{"prior.latent_dim": 4}, {"target.lr": 0.001}]


def test_an_overridden_field_leaves_the_points() -> None:
    searcher = {"try_first": [{"method": "random_init", "target.lr": 0.001}, {"target.lr": 0.002}]}
    space = load_space(a_space(search=SEARCH, searcher=searcher), ["target.lr=0.01"])
    assert space.search is not None and space.search.searcher.try_first == ({"method": "random_init"},)


def test_a_point_whose_values_do_not_go_together_is_refused_before_anything_runs(tmp_path: Path) -> None:
    search = {
        "dwp.scale": {"choice": ["start", "source"]},
        "prior.standardise": {"choice": ["layer", "filter"]},
    }
    searcher = {"try_first": [{"dwp.scale": "source", "prior.standardise": "filter"}]}
    fixed = {"train_size": 3, "method": "deep_weight_prior", "dwp.init": "source"}
    space = load_space(
        {**SPACE, "fixed": fixed, "grid": {"split": [0]}, "search": search, "searcher": searcher}
    )
    with pytest.raises(InputError, match=r"searcher\.try_first\[0\] makes no experiment"):
        build_sweep(space, tmp_path)


def trials_of(study: Study, n: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(n):
        trial = study.ask()
        assert trial is not None
        study.complete(trial.number, [0.5])
        found.append(dict(trial.values))
    return found


def test_points_are_the_first_trials_and_a_resumed_study_does_not_repeat_them() -> None:
    storage = optuna.storages.InMemoryStorage()
    points = [{"x": 2.0, "source": 1}, {"x": 3.0}]
    search = search_space(n_trials=6)
    search = search_space(n_trials=6, try_first=points)
    first = trials_of(Study("s/all", search, search.conditions[0], storage), 1)
    assert first == [{"x": 2.0, "source": 1}]
    again = trials_of(Study("s/all", search, search.conditions[0], storage), 3)
    assert again[0]["x"] == 3.0 and again[0]["source"] in (0, 1)
    assert 2.0 not in [values["x"] for values in again] and 3.0 not in [values["x"] for values in again[1:]]


def test_without_points_the_suggestions_are_what_they_were() -> None:
    def suggested(**more: Any) -> list[dict[str, Any]]:
        search = search_space(n_trials=4, **more)
        return trials_of(Study("s/all", search, search.conditions[0], optuna.storages.InMemoryStorage()), 4)

    assert suggested() == suggested(try_first=[])
