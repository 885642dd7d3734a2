"""A plan refuses what a run would refuse: studies that were begun with another question or other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.node import entries_of
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.search.study import Study
from dwp_sweep.harness.search.study_database import open_storage, storage_url, target_nodes
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import record_nodes
from tests.config.test_sweep import SPACE

FIXED = {"train_size": 3, "method": "deep_weight_prior", "target.patience": 3, "prior.max_epochs": 2}
SEARCH = {
    "prior.latent_dim": {"int": [2, 8]},
    "dwp.kl_weight": {"float": [1e-6, 1e-3], "log": True},
    "unet.channels": {"choice": [[4, 8, 8, 8], [8, 8, 8, 8]]},
}


def sweep_of(store: Store, fixed: dict[str, Any] | None = None, **changes: Any) -> Sweep:
    space = {
        **SPACE,
        "fixed": {**FIXED, **(fixed or {})},
        "grid": {"split": [0]},
        "search": SEARCH,
        **changes,
    }
    return build_sweep(load_space(space), store.root)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Holds a study with one open trial."""
    store = LocalStore(tmp_path)
    sweep = sweep_of(store)
    assert sweep.search is not None
    store.sweep_dir(sweep.name)
    (condition,) = sweep.search.conditions
    storage = open_storage(storage_url(store, sweep.name, None))
    study = Study(f"{sweep.name}/{condition.name}", sweep.search, condition, storage)
    trial = study.ask()
    assert trial is not None
    nodes = target_nodes(sweep, condition, trial)
    study.name_nodes(trial.number, [node.key for node in nodes])
    record_nodes(store, sweep.name, entries_of(sweep.nodes.values(), sweep.targets))
    return store


def refusal(store: Store, **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        make_plan(sweep_of(store, **changes), store)
    return str(caught.value)


def test_the_same_search_goes_on_with_more_trials_and_other_ranges(store: Store) -> None:
    wider = {**SEARCH, "prior.latent_dim": {"int": [2, 16]}}
    plan = make_plan(sweep_of(store, search=wider, searcher={"n_trials": 50}), store)
    assert len(plan.sweep.targets) == 1


def test_other_settings_are_named_where_they_are_upstream_as_well(store: Store) -> None:
    text = refusal(store, fixed={"target.patience": 5})
    assert text.startswith("target.patience: study 's/split=0' was begun with other settings")
    assert "target.patience was 3 and is 5; what trial 0 found" in text and "--set name=NAME" in text
    assert "prior.max_epochs was 2 and is 7" in refusal(store, fixed={"prior.max_epochs": 7})


def test_another_objective_other_choices_and_another_kind_are_named(store: Store) -> None:
    assert "was begun with another objective" in refusal(store, objective={"metric": "val_iou"})
    other = {
        **SEARCH,
        "unet.channels": {"choice": [[4, 8, 8, 8], [4, 4, 4, 4]]},
        "prior.latent_dim": {"choice": [2, 4]},
    }
    text = refusal(store, search=other)
    assert "search.unet.channels" in text and "search.prior.latent_dim" in text


def test_a_warm_start_that_cannot_be_is_refused_by_the_plan_as_well(store: Store) -> None:
    assert "searcher.warm_start: no sweep 'pilot'" in refusal(store, searcher={"warm_start": "pilot"})
