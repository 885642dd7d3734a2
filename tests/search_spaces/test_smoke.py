"""Every search space of the paper runs at its smoke scale: one storage, generated scans.

All but one run in this process, with no configuration given up early. What ASHA does with real networks is
seen in one search on Ray; `tests/harness/search/test_search_run.py` shows it with toys.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from dwp_sweep.api import SweepRun, run_sweep
from dwp_sweep.harness.search.study import SAME_AS
from dwp_sweep.store.local.store import LocalStore
from tests.harness.test_run import Witness
from tests.search_spaces.spaces import FOLDER, GRIDS, SEARCHES, search_of, space

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OTHERS = ("atlas",)
"""Grids that are not the paper's."""
WITHOUT_RAY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*GRIDS, *OTHERS, "joint"), ()),
    **dict.fromkeys(("loss_weights", "freeze_points", "source_harvest"), ("scheduler.kind=none",)),
}
"""Settings with which a file runs in this process."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Ran:
    """A storage on which every file has run."""

    storage: Path
    runs: dict[str, SweepRun]

    def trials(self, name: str) -> dict[str, list[FrozenTrial]]:
        """By study, those that count."""
        storage = f"sqlite:///{self.storage}/sweeps/{name}-smoke/optuna.db"
        studies = optuna.get_all_study_names(storage)
        found = {
            study: optuna.load_study(study_name=study, storage=storage).get_trials() for study in studies
        }
        return {
            study: [one for one in trials if SAME_AS not in one.user_attrs] for study, trials in found.items()
        }

    def built(self, name: str, stage: str) -> set[str]:
        """Keys of a sweep's nodes of a stage that the store holds."""
        store, nodes = LocalStore(self.storage), self.runs[name].sweep.nodes.values()
        return {node.key for node in nodes if node.stage == stage and store.is_published(stage, node.key)}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    storage = tmp_path_factory.mktemp("spaces") / "runs"
    runs = {
        name: run_sweep(
            FOLDER / f"{name}.yaml",
            storage,
            smoke=True,
            overrides=WITHOUT_RAY.get(name, ()),
            here=name in WITHOUT_RAY,
            progress=Witness(),
        )
        for name in (*GRIDS, *OTHERS, *SEARCHES)
    }
    return Ran(storage, runs)


@pytest.mark.parametrize("name", [*GRIDS, *OTHERS, *SEARCHES])
def test_it_ends_with_nothing_failed_and_a_best_configuration(name: str, ran: Ran) -> None:
    run = ran.runs[name]
    assert run.exit_code == 0 and not run.outcome.failed and not run.outcome.blocked
    assert run.tracking.online and run.best is not None
    done = run.results[(run.results.stage == "target") & (run.results.state == "done")]
    assert len(done) >= 1 and done["best_val_dice"].between(0, 1).all()


@pytest.mark.parametrize("name", SEARCHES)
def test_every_study_has_told_what_became_of_its_trials(name: str, ran: Ran) -> None:
    search = search_of(space(name, smoke=True))
    studies = ran.trials(name)
    assert set(studies) == {f"{name}-smoke/{one.name}" for one in search.conditions}
    for trials in studies.values():
        assert len(trials) == search.searcher.n_trials
        assert all(trial.state in ENDED for trial in trials)
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        assert complete, "the first one has no rivals"
        assert all(len(trial.values) == len(search.objectives) for trial in complete)
        assert all(0 <= trial.values[0] <= 1 for trial in complete)


def test_the_objective_of_a_trial_is_the_validation_dice_of_its_networks(ran: Ran) -> None:
    store = LocalStore(ran.storage)
    for name in SEARCHES:
        for trial in (one for trials in ran.trials(name).values() for one in trials):
            records = [store.record("target", key) for key in trial.user_attrs["nodes"]]
            if trial.state == TrialState.PRUNED:
                assert any(record is not None and record.status == "pruned" for record in records)
                continue
            scores = [record.metrics["best_val_dice"] for record in records if record is not None]
            assert len(scores) == len(records)
            assert trial.values[0] == pytest.approx(sum(scores) / len(scores))


def test_the_cost_of_a_joint_trial_is_the_time_of_its_networks_in_hours(ran: Ran) -> None:
    store = LocalStore(ran.storage)
    for trial in ran.trials("joint")["joint-smoke/all"]:
        hours = [
            record.wall_s / 3600
            for key in trial.user_attrs["nodes"]
            if (record := store.record("target", key))
        ]
        assert trial.values[1] == pytest.approx(sum(hours) / len(hours))


def test_five_trials_that_share_two_latent_dimensions_build_the_autoencoders_of_each_once(ran: Ran) -> None:
    trials = ran.trials("latent_dim")["latent_dim-smoke/all"]
    assert len(trials) == 5 and {trial.params["prior.latent_dim"] for trial in trials} == {4, 6}
    sweep, priors = ran.runs["latent_dim"].sweep, ran.built("latent_dim", "prior")
    config = {key: sweep.nodes[key].config for key in priors}
    found = Counter((one["prior"]["latent_dim"], one["group"]) for one in config.values())
    assert found == {(latent_dim, group): 1 for latent_dim in (4, 6) for group in range(1, 8)}
    assert len(ran.built("latent_dim", "source")) == len(ran.built("latent_dim", "harvest")) == 1
    rows = ran.runs["latent_dim"].results
    assert Counter(rows.stage)["prior"] == 14 and rows.key.is_unique


def test_sweeps_on_one_storage_share_what_is_the_same(ran: Ran) -> None:
    assert ran.runs["paper_grid"].outcome.counts["done"] == 13
    assert ran.runs["paper_grid_large"].outcome.counts["cached"] == 13
    assert ran.built("loss_weights", "prior") == ran.built("paper_grid", "prior")


def test_the_joint_search_tried_no_setting_of_another_method(ran: Ran) -> None:
    for trial in ran.trials("joint")["joint-smoke/all"]:
        owners = {"dwp": "deep_weight_prior", "prior": "deep_weight_prior", "freeze": "freeze_middle"}
        sections = {key.partition(".")[0] for key in trial.params}
        assert all(trial.params["method"] == owners[one] for one in sections & owners.keys())
