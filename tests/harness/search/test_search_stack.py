"""Searcher, scheduler, ledger, studies and store together, with a loop in the place of Tune."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.dag.resources import Admission, Resources
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.harness.search.scheduler import SearchScheduler
from dwp_sweep.harness.search.search_plan import SearchPlan
from dwp_sweep.harness.search.study import SAME_AS
from dwp_sweep.harness.tune.searcher import DagSearcher
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from tests.harness.search.test_scheduler import Tune
from tests.harness.toy_search import SEARCH_STAGES, search_space, search_sweep


@dataclass(frozen=True)
class Trial:
    trial_id: str
    config: Mapping[str, Any]


def run(sweep: Sweep, store: Store) -> Ledger:
    """One slot: a node runs to its end before Tune asks for another one."""
    ledger = Ledger(make_plan(sweep, store), Durations(), lambda event: None)
    search = SearchPlan(sweep, store, ledger)
    scheduler = SearchScheduler(search, store)
    search.watch_record = scheduler.learn
    search.replay()
    shapes = {stage: Resources(1.0, 0.0) for stage in SEARCH_STAGES}
    admission = Admission(lambda: [Resources(1.0, 0.0)])
    searcher = DagSearcher(Dispatch(ledger, store, admission, shapes, search=search))
    number = 0
    while (config := searcher.suggest(str(number))) != Searcher.FINISHED:
        assert isinstance(config, dict), "with one slot something is always ready, or the search is over"
        trial = Trial(str(number), config)
        node = ledger.board.nodes[config["node"]]
        ledger.started(trial.trial_id)

        def report(epoch: int, n_epochs: int, metrics: Mapping[str, float], trial: Trial = trial) -> None:
            flat = {f"metrics/{name}": value for name, value in metrics.items()}
            result = {"epoch": epoch, "n_epochs": n_epochs, **flat}
            assert scheduler.on_trial_result(Tune(), trial, result) == TrialScheduler.CONTINUE  # type: ignore[arg-type]
            searcher.on_trial_result(trial.trial_id, result)

        run_node(node, SEARCH_STAGES[node.stage], store, report=report)
        searcher.on_trial_complete(trial.trial_id, {})
        number += 1
    return ledger


def trials(store: Store, name: str) -> list[FrozenTrial]:
    url = f"sqlite:///{store.root}/sweeps/toy/optuna.db"
    found = optuna.load_study(study_name=name, storage=url).get_trials()
    return [trial for trial in found if SAME_AS not in trial.user_attrs]


def test_what_asha_gives_up_is_pruned_in_store_and_study_and_shared_stages_are_built_once(
    tmp_path: Path,
) -> None:
    log, store = tmp_path / "log.txt", LocalStore(tmp_path / "storage")
    space = search_space(
        n_trials=5, n_conditions=2, scheduler={"kind": "asha", "grace_epochs": 1, "reduction_factor": 2}
    )
    ledger = run(search_sweep(space, log), store)
    assert set(Counter(log.read_text().splitlines()).values()) == {1}
    n_pruned = 0
    for name in ("toy/condition=0", "toy/condition=1"):
        found = trials(store, name)
        states = Counter(trial.state for trial in found)
        assert states[TrialState.COMPLETE] >= 1 and sum(states.values()) == len(found) == 5
        assert found[0].state == TrialState.COMPLETE, "the first one of a condition has no rivals"
        n_pruned += states[TrialState.PRUNED]
        for trial in found:
            record = store.record("target", trial.user_attrs["nodes"][0])
            assert record is not None
            assert record.status == ("pruned" if trial.state == TrialState.PRUNED else "done")
            if record.status == "pruned":
                assert len(record.history) == trial.last_step < 9
    assert ledger.board.counts()["pruned"] == n_pruned >= 1

    n_lines = len(log.read_text().splitlines())
    again = run(search_sweep(space, log), store)
    assert len(log.read_text().splitlines()) == n_lines, "a finished search builds nothing"
    assert again.board.counts()["pruned"] == n_pruned
