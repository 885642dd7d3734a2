"""Searches in search-space files: what they mean, and every way to get them wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.search.distribution import Distribution
from dwp_sweep.config.sections import BudgetConfig
from dwp_sweep.config.space import Space, load_space
from dwp_sweep.config.sweep import build_sweep
from dwp_sweep.errors import InputError
from dwp_sweep.strict import parse
from tests.config.test_space import a_space, problems
from tests.config.test_sweep import SPACE

LATENT = {"prior.latent_dim": {"int": [2, 16], "step": 2}}


def load(*overrides: str, **values: Any) -> Space:
    return load_space(a_space(**values), overrides)


def told(**values: Any) -> list[str]:
    return problems(a_space(**values)).splitlines()


def test_a_search_has_defaults_that_fit_one_objective() -> None:
    search = load(search=LATENT).search
    assert search is not None
    assert [one.metric for one in search.objectives] == ["val_dice"]
    assert (search.searcher.kind, search.scheduler.kind) == ("tpe", "asha")
    assert [one.name for one in search.conditions] == ["all"]
    assert load().search is None


def test_the_grid_beside_a_search_makes_one_study_for_each_condition_but_not_for_repeats() -> None:
    space = load(
        search=LATENT,
        grid={"method": ["fine_tune", "deep_weight_prior"], "split": [0, 1], "train_size": [5, 10]},
        objective={"metric": "val_dice", "over": "split"},
    )
    assert space.search is not None
    studies = {one.name: one.members for one in space.search.conditions}
    assert list(studies) == [
        "method=fine_tune, train_size=5", "method=fine_tune, train_size=10",
        "method=deep_weight_prior, train_size=5", "method=deep_weight_prior, train_size=10",
    ]  # fmt: skip
    members = studies["method=fine_tune, train_size=10"]
    assert [(space.conditions[n].split, space.conditions[n].train_size) for n in members] == [
        (0, 10),
        (1, 10),
    ]


def test_fields_come_after_those_that_their_when_names_and_apply_only_with_their_values() -> None:
    search = load(
        search={
            "dwp.kl_weight": {"float": [1e-6, 1e-2], "log": True, "when": {"method": "deep_weight_prior"}},
            "method": {"choice": ["fine_tune", "deep_weight_prior"]},
        }
    ).search
    assert search is not None and list(search.distributions) == ["method", "dwp.kl_weight"]
    assert search.applies("dwp.kl_weight", {"method": "deep_weight_prior"})
    assert not search.applies("dwp.kl_weight", {"method": "fine_tune"})
    assert not search.applies("dwp.kl_weight", {})


def test_a_field_that_does_not_apply_makes_no_other_apply_by_its_default() -> None:
    dwp = {"method": "deep_weight_prior"}
    search = load(
        search={
            "method": {"choice": ["fine_tune", "deep_weight_prior"]},
            "prior.kind": {"choice": ["vae", "mixture"], "when": dwp},
            "prior.latent_dim": {"int": [2, 4], "when": {"prior.kind": "vae"}},
        }
    ).search
    assert search is not None and search.conditions[0].values["prior.kind"] == "vae"
    given = search.conditions[0].values
    assert search.applies("prior.latent_dim", {**given, **dwp, "prior.kind": "vae"})
    assert not search.applies("prior.latent_dim", {**given, **dwp, "prior.kind": "mixture"})
    assert not search.applies("prior.latent_dim", {**given, "method": "fine_tune"})


def test_a_distribution_survives_being_written_and_read() -> None:
    search = load(search={"freeze.trainable": {"choice": [["out"], ["up3", "out"]]}, **LATENT}).search
    assert search is not None
    for one in search.distributions.values():
        assert parse(Distribution, one.model_dump(mode="json"), "here") == one


def test_an_override_takes_the_place_of_a_searched_field_or_changes_its_range() -> None:
    both = {**LATENT, "target.lr": {"float": [1e-4, 1e-2], "log": True}}
    search = load("prior.latent_dim=6", "search.target.lr={float: [0.1, 0.2]}", search=both).search
    assert search is not None and list(search.distributions) == ["target.lr"]
    assert search.distributions["target.lr"].low == 0.1
    assert load("prior.latent_dim=6", search=LATENT).search is None


def test_smoke_changes_a_search() -> None:
    values = a_space(
        search=LATENT, smoke={"searcher": {"n_trials": 2}, "search": {"prior.latent_dim": {"int": [2, 3]}}}
    )
    search = load_space(values, smoke=True).search
    assert search is not None
    assert (search.searcher.n_trials, search.distributions["prior.latent_dim"].high) == (2, 3)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("2h", 7200), ("1.5 h", 5400)])
def test_a_wall_budget_has_a_unit(text: str, seconds: float) -> None:
    assert BudgetConfig(wall=text).wall_s == seconds
    assert load(budget={"wall": text}).budget.is_limited


BAD: list[dict[str, Any]] = [{"float": [0.1, 0.1]}, {"float": [0, 1], "log": True}, {"choice": []}]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"search": LATENT, "grid": {"prior.latent_dim": [2, 4]}},
            "search.prior.latent_dim and grid.prior.latent_dim",
        ),
        ({"search": {"target.lr": {"float": [0.1, 0.1]}}}, "search.target.lr = .*range is empty"),
        ({"search": {"target.lr": {"float": [0.2, 0.1]}}}, "search.target.lr = .*range is empty"),
        (
            {"search": {"target.lr": {"float": [0, 1], "log": True}}},
            "search.target.lr = .*log: true needs a positive",
        ),
        (
            {"search": {"target.lr": {"float": [-1, 1], "log": True}}},
            "search.target.lr = .*log: true needs a positive",
        ),
        ({"search": {"prior.latent": {"int": [1, 2]}}}, "unknown key 'search.prior.latent' .*latent_dim"),
        ({"search": {"prior.latent_dim": {"int": [0, 4]}}}, "search.prior.latent_dim = 0"),
        (
            {"search": {"loss.ce_reduction": {"choice": ["mean", "summ"]}}},
            'search.loss.ce_reduction = "summ"',
        ),
        (
            {"search": {"prior.latent_dim": {"int": [2, 4], "steps": 2}}},
            "unknown key 'search.prior.latent_dim.steps'",
        ),
        ({"search": {"split": {"int": [0, 4]}}}, "search.split belongs to the question"),
        (
            {"search": LATENT, "objective": {"metric": "val_dicee"}},
            "objective.metric = .*no stage reports it",
        ),
        ({"search": LATENT, "objective": {"metric": "test_dice"}}, "objective.metric = .*must not choose"),
        (
            {"search": LATENT, "objective": {"over": "splits"}},
            "objective.over = 'splits': the grid has no such axis",
        ),
        (
            {"search": LATENT, "objective": ["val_dice"]},
            r"objective = .*: should be \{metric: val_dice, over: split\}, or a list of such",
        ),
        (
            {"search": LATENT, "objective": "val_iou"},
            r'objective = "val_iou": should be \{metric: val_iou, over: split\}, or a list of such',
        ),
        (
            {"search": LATENT, "objective": [{"metric": "val_dice"}, {"metric": "best_val_dice"}]},
            "objective = .*names val_dice more than once",
        ),
        (
            {"search": {"freeze": {"choice": [{"n_frozen": 1}, {}]}, "freeze.n_frozen": {"int": [0, 4]}}},
            "search.freeze and search.freeze.n_frozen name the same field",
        ),
        *(
            ({"search": {"target.lr": one}, "searcher": {"n_trials": 3}, "objective": {}}, "search.target.lr")
            for one in BAD
        ),
        (
            {
                "search": LATENT,
                "objective": [{"metric": "val_dice"}, {"metric": "gpu_hours"}],
                "scheduler": {"kind": "asha"},
            },
            "scheduler.kind = 'asha': stops by one objective, and there are 2",
        ),
        ({"budget": {"wall": "5 parsecs"}}, 'budget.wall = "5 parsecs": should be a time with its unit'),
        ({"budget": {"parsecs": 5}}, "unknown key 'budget.parsecs'"),
        ({"searcher": {"n_trials": 3}}, "searcher is given, and nothing is searched for"),
    ],
)
def test_bad_input_is_told_in_one_line_that_names_the_key(values: dict[str, Any], words: str) -> None:
    lines = told(**values)
    assert len(lines) == 1
    assert re.search(words, lines[0]), lines[0]


def when(field: str, value: Any, **values: Any) -> list[str]:
    return told(**{"search": {"dwp.kl_weight": {"float": [1e-6, 1.0], "when": {field: value}}}, **values})


def test_a_when_names_a_field_that_exists_is_given_and_can_have_the_value() -> None:
    lines = when("metod", "fine_tune")
    assert len(lines) == 1
    assert "unknown key 'search.dwp.kl_weight.when.metod' (did you mean 'method'?)" in lines[0]
    assert "nothing in this file sets method" in when("method", "fine_tune")[0]
    lines = when("method", "fine_tun", fixed={"method": "fine_tune"})
    assert len(lines) == 1 and "search.dwp.kl_weight.when.method" in lines[0]
    ok = {"dwp.kl_weight": {"float": [1e-6, 1.0], "when": {"method": "deep_weight_prior"}}}
    for where in (
        {"fixed": {"method": "deep_weight_prior"}},
        {"grid": {"variant": {"A": {"method": "random_init"}, "B": {"method": "deep_weight_prior"}}}},
    ):
        assert load(search=ok, **where).search is not None


DWP = {"method": "deep_weight_prior"}


@pytest.mark.parametrize(
    ("condition", "values", "words"),
    [
        ({"method": "fine_tune"}, {"fixed": DWP}, "method never has a value"),
        ({"method": "fine_tune"}, {"grid": {"variant": {"A": DWP}}}, "method never has a value"),
        (
            {"method": "fine_tune", "train_size": 5},
            {
                "grid": {
                    "variant": {"A": {"method": "fine_tune", "train_size": 9}, "B": {**DWP, "train_size": 5}}
                }
            },
            "no study has all the values",
        ),
        (
            {"split": 0},
            {"grid": {"split": [0, 1]}, "objective": {"over": "split"}},
            "split has several values in a study",
        ),
    ],
)
def test_a_field_that_applies_in_no_study_is_told(
    condition: dict[str, Any], values: dict[str, Any], words: str
) -> None:
    lines = told(search={"target.lr": {"float": [0.1, 1.0], "when": condition}}, **values)
    assert len(lines) == 1
    assert "search.target.lr can never apply: " + words in lines[0]


def test_a_field_whose_conditions_exclude_each_other_is_told_and_an_override_may_exclude_it() -> None:
    method = {"choice": ["fine_tune", "deep_weight_prior", "random_init"]}
    kind = {"choice": ["vae", "mixture"], "when": DWP}
    latent = {"int": [2, 4], "when": {"prior.kind": "vae", "method": "fine_tune"}}
    search = {"method": method, "prior.kind": kind, "prior.latent_dim": latent}
    lines = told(search=search)
    assert len(lines) == 1 and "search.prior.latent_dim can never apply" in lines[0]
    sound = {"method": method, "prior.kind": kind}
    assert load(search=sound).search is not None
    assert load("method=fine_tune", search=sound).search is not None
    kind_only = {"prior.kind": kind}
    variants = {"variant": {"A": {"method": "fine_tune"}, "B": DWP}}
    assert load("variant=A", search=kind_only, grid=variants).search is not None
    methods = {"method": ["fine_tune", "deep_weight_prior"]}
    assert load("grid.method=[fine_tune]", search=kind_only, grid=methods).search is not None
    small = a_space(search=kind_only, grid=methods, smoke={"grid": {"method": ["fine_tune"]}})
    assert all(load_space(small, smoke=smoke).search is not None for smoke in (True, False))


@pytest.mark.parametrize(
    ("one", "held", "not_held"),
    [
        ({"int": [2, 9], "step": 2}, [2, 4, 8], [3, 9, 10, True]),
        ({"float": [0, 1], "step": 0.1}, [0, 0.3, 0.7, 1.0], [0.25, 1.1]),
        ({"float": [0, 1]}, [0.25], [-0.1]),
    ],
)
def test_a_range_holds_what_its_steps_reach(
    one: dict[str, Any], held: list[Any], not_held: list[Any]
) -> None:
    found = parse(Distribution, one, "here")
    assert all(found.holds(value) for value in held)
    assert not any(found.holds(value) for value in not_held)
    needed: dict[str, Any] = {"prior.latent_dim": {"int": [2, 8], "step": 2}}
    needed["target.lr"] = {"float": [0.1, 1], "when": {"prior.latent_dim": 3}}
    assert "search.prior.latent_dim never suggests it" in told(search=needed)[0]


def test_fields_that_wait_for_each_other_are_told() -> None:
    lines = told(
        search={
            "prior.latent_dim": {"int": [2, 4], "when": {"target.batch_size": 2}},
            "target.batch_size": {"int": [1, 2], "when": {"prior.latent_dim": 2}},
        }
    )
    assert len(lines) == 2 and all("depends on itself" in line for line in lines)


def test_all_problems_of_a_search_are_told_at_once() -> None:
    lines = told(
        search={"target.lr": {"float": [1, 0]}, "prior.latnt": {"int": [1, 2]}, "seed": {"int": [0, 5]}},
        budget={"wall": 7},
        searcher={"kind": "tpee"},
    )
    assert len(lines) == 5


def test_a_suggested_latent_dimension_makes_its_priors_and_shares_everything_else(tmp_path: Path) -> None:
    space = {
        **SPACE,
        "fixed": {"source.n_seeds": 2, "train_size": 3, "method": "deep_weight_prior"},
        "grid": {"split": [0, 1]},
        "search": LATENT,
        "objective": {"over": "split"},
    }
    sweep = build_sweep(load_space(space), tmp_path)
    assert sweep.resolve is not None and not sweep.nodes and not sweep.targets
    stages = []
    for values in ({"prior.latent_dim": 4}, {"prior.latent_dim": 8}, {"prior.latent_dim": 4}):
        targets = [sweep.resolve(values, place) for place in (0, 1)]
        assert targets[0].key != targets[1].key
        names = [node.stage for node in sweep.nodes.values()]
        stages.append({name: names.count(name) for name in ("source", "harvest", "prior", "target")})
    assert stages[0] == {"source": 2, "harvest": 1, "prior": 7, "target": 2}
    assert stages[1] == stages[2] == {"source": 2, "harvest": 1, "prior": 14, "target": 4}
    with pytest.raises(InputError, match=r"search\.prior\.latent_dim"):
        sweep.resolve({"prior.latent_dim": 0}, 0)
