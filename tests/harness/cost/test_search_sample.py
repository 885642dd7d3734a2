"""What a search has yet to build: drawn, counted and priced, without touching the sweep or its studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dwp_sweep.config.sections import BudgetConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.cost.durations import PastRuns
from dwp_sweep.harness.cost.plan_cost import plan_cost
from dwp_sweep.harness.cost.search_sample import guess_search
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.search.study import Study
from dwp_sweep.harness.search.study_database import open_storage, storage_url, study_name
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.tracking.mlflow_format import encode, flatten
from tests.harness.toy_search import build, search_space, search_sweep
from tests.harness.toy_stages import toy_node, toy_sweep


def sweep_of(budget: BudgetConfig | None = None, **space: Any) -> Sweep:
    def make() -> Sweep:
        return search_sweep(search_space(**space), budget=budget)

    return replace(make(), fresh=make)


def test_configurations_to_come_share_what_is_upstream_and_leave_the_sweep_alone(tmp_path: Path) -> None:
    sweep, store = sweep_of(n_trials=6, n_conditions=2, n_repeats=3), LocalStore(tmp_path)
    found = guess_search(sweep, store)
    assert found is not None and (found.n_to_come, found.n_drawn, found.n_repeats) == (12, 12, 3)
    stages = [node.stage for node in found.plan.to_build]
    assert stages.count("target") == 36 and stages.count("source") == 2, "two sources serve all of them"
    assert not sweep.nodes and not sweep.targets and not (tmp_path / "sweeps").exists()
    again = guess_search(sweep, store)
    assert again is not None and list(again.plan.states) == list(found.plan.states), "same seed, same draw"


def test_what_a_study_has_is_not_counted_again_and_open_ones_are_to_come(tmp_path: Path) -> None:
    sweep, store = sweep_of(n_trials=5), LocalStore(tmp_path)
    assert sweep.search is not None
    store.sweep_dir("toy")
    (condition,) = sweep.search.conditions
    storage = open_storage(storage_url(store, "toy", None))
    study = Study(study_name("toy", condition.name), sweep.search, condition, storage)
    first, second = study.ask(), study.ask()
    assert first is not None and second is not None
    study.complete(first.number, [0.5])
    found = guess_search(sweep, store)
    assert found is not None and found.n_to_come == 4
    assert sweep.fresh is not None
    copy = sweep.fresh()
    assert copy.resolve is not None
    assert found.plan.sweep.targets[0] == copy.resolve(second.values, 0).key, "the open one comes first"


def test_more_than_can_be_drawn_is_a_factor(tmp_path: Path) -> None:
    found = guess_search(sweep_of(n_trials=30), LocalStore(tmp_path), n_drawn=10)
    assert found is not None and (found.n_to_come, found.n_drawn, found.factor) == (30, 10, 3.0)


def test_no_configuration_is_drawn_twice_and_a_space_without_more_points_lowers_what_is_to_come(
    tmp_path: Path,
) -> None:
    sweep, store = (
        sweep_of(distributions={"x": {"int": [1, 4]}}, n_trials=30, n_conditions=2),
        LocalStore(tmp_path),
    )
    found = guess_search(sweep, store)
    assert found is not None and (found.n_to_come, found.n_drawn, found.factor) == (8, 8, 1.0)
    assert len(set(found.plan.sweep.targets)) == 8
    assert sweep.search is not None
    store.sweep_dir("toy")
    condition = sweep.search.conditions[0]
    name, storage = study_name("toy", condition.name), open_storage(storage_url(store, "toy", None))
    study = Study(name, sweep.search, condition, storage)
    for _ in range(3):
        asked = study.ask()
        assert asked is not None
        study.complete(asked.number, [0.5])
    found = guess_search(sweep, store)
    assert found is not None and (found.n_to_come, found.n_drawn) == (5, 5), "three of four are known"


def test_a_plan_makes_no_database_and_no_tables_where_the_search_names_one(tmp_path: Path) -> None:
    path, store = tmp_path / "studies.db", LocalStore(tmp_path / "storage")
    search = search_space()
    searcher = search.searcher.model_copy(update={"storage": f"sqlite:///{path}"})
    sweep = search_sweep(replace(search, searcher=searcher))
    make_plan(sweep, store)
    assert not path.exists()
    path.touch()
    make_plan(sweep, store)
    assert path.stat().st_size == 0
    assert sweep.search is not None
    (condition,) = sweep.search.conditions
    study = Study(
        study_name("toy", condition.name), sweep.search, condition, open_storage(f"sqlite:///{path}")
    )
    assert study.ask() is not None
    assert len(make_plan(sweep, store).states) == 2, "a source and a target of what was asked for"


def test_hours_makespan_and_cut_of_a_search(tmp_path: Path) -> None:
    sweep, store = sweep_of(BudgetConfig(trials=2), n_trials=6, n_repeats=2), LocalStore(tmp_path)
    assert sweep.fresh is not None
    copy = sweep.fresh()
    assert copy.resolve is not None
    target = copy.resolve({"x": 1.5, "source": 0}, 0)
    for node in copy.nodes.values():
        build(store, node)
    past = store.record("target", target.key)
    assert past is not None
    cost = plan_cost(make_plan(sweep, store), store, 1)
    rows = {row.stage: row for row in cost.stages}
    assert (cost.n_configurations, cost.n_drawn, rows["target"].n_to_build) == (6, 6, 12)
    hours = rows["target"].cpu_hours
    assert hours is not None and hours.mean == pytest.approx(12 * past.wall_s / 3600)
    assert cost.makespan_s >= 12 * past.wall_s * (1 - 1e-9)  # a sum of floats
    assert cost.cut["target"] == 8 and cost.cut_by == "budget.trials", "two of six configurations may start"


def test_sizes_that_a_search_tries_first_cost_what_their_neighbours_do() -> None:
    past = PastRuns()
    past.add("prior", {"group": 1, "prior": {"latent_dim": 2}}, 10.0)
    past.add("prior", {"group": 1, "prior": {"latent_dim": 4}}, 20.0)
    past.add("prior", {"group": 2, "prior": {"latent_dim": 4}}, 99.0)
    new = {"group": 1, "prior": {"latent_dim": 3}}
    assert past.duration("prior", new) is None
    found = past.duration("prior", new, {"latent_dim"})
    assert found is not None and (found.mean_s, found.low_s, found.high_s) == (15.0, 10.0, 20.0)
    exact = past.duration("prior", {"group": 1, "prior": {"latent_dim": 4}}, {"latent_dim"})
    assert exact is not None and exact.mean_s == 20.0
    assert past.duration("prior", {"group": 3, "prior": {"latent_dim": 3}}, {"latent_dim", "group_x"}) is None


def test_mlflow_tells_what_the_storage_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = toy_node("target", "elsewhere", n_epochs=7)
    run = SimpleNamespace(
        data=SimpleNamespace(
            metrics={"wall_s": 7200.0},
            params={name: encode(value) for name, value in flatten(node.config).items()},
        )
    )
    asked: list[str] = []

    def search_runs(experiments: list[str], text: str, **_: object) -> list[object]:
        asked.append(text)
        return [run]

    client = SimpleNamespace(
        search_experiments=lambda: [SimpleNamespace(experiment_id="1")], search_runs=search_runs
    )
    monkeypatch.setattr("dwp_sweep.tracking.read.runs.mlflow_client", lambda uri: client)
    plan, store = make_plan(toy_sweep(node), LocalStore(tmp_path)), LocalStore(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert plan_cost(plan, store).n_unknown == 1 and not asked, "no MLflow is named and none is there"
    cost = plan_cost(plan, store, tracking_uri="http://somewhere")
    assert cost.makespan_s == 7200.0 and cost.n_unknown == 0
    assert asked == ["tags.`dwp.stage` = 'target' and attributes.status = 'FINISHED'"]
    monkeypatch.setattr(client, "search_experiments", lambda: 1 / 0)
    assert plan_cost(plan, store, tracking_uri="http://somewhere").n_unknown == 1, "trouble means unknown"
