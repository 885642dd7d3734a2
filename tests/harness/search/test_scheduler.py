"""Early stopping by Tune's own rules, one set of rungs for each study and repeat."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from dwp_sweep.config.node import Node
from dwp_sweep.config.search.definition import SearchSpace
from dwp_sweep.harness.search.configuration import Member
from dwp_sweep.harness.search.scheduler import SearchScheduler
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Point, Record
from tests.harness.toy_search import search_space


@dataclass
class Search:
    """As much of a search plan as the scheduler asks for."""

    search: SearchSpace
    members: dict[str, Member] = field(default_factory=dict)

    def member(self, key: str) -> Member | None:
        return self.members.get(key)


@dataclass(frozen=True)
class Trial:
    config: dict[str, Any]
    trial_id: str = "1"


class Tune:
    def get_live_trials(self) -> list[Any]:
        return []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path)


def scheduler_of(store: Store, kind: str = "asha") -> tuple[SearchScheduler, Search]:
    search = Search(search_space(scheduler={"kind": kind, "grace_epochs": 2, "min_configurations": 1}))
    return SearchScheduler(search, store), search  # type: ignore[arg-type]


def report(
    scheduler: SearchScheduler, key: str, epoch: int, value: float, n_epochs: int = 9, n_warm_up: int = 0
) -> str:
    result = {"epoch": epoch, "n_epochs": n_epochs, "metrics/val_dice": value, "node": key}
    result |= {"metrics/warm_up_epochs": float(n_warm_up)} if n_warm_up else {}
    return scheduler.on_trial_result(Tune(), Trial({"node": key, "stage": "target"}), result)  # type: ignore[arg-type]


def run(
    scheduler: SearchScheduler, store: Store, key: str, values: list[float], n_warm_up: int = 0
) -> int | None:
    """The epoch after which a network was given up; None: never. Its trial always goes on."""
    for epoch, value in enumerate(values, start=1):
        assert report(scheduler, key, epoch, value, n_warm_up=n_warm_up) == TrialScheduler.CONTINUE
        if store.prune_reason("target", key) is not None:
            return epoch
    return None


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_the_worse_of_two_is_given_up_at_its_first_rung_and_the_better_goes_on(
    store: Store, kind: str
) -> None:
    scheduler, search = scheduler_of(store, kind)
    search.members = {key: Member("s/all", 0) for key in "abc"}
    assert run(scheduler, store, "a", [0.5] * 8) is None
    assert run(scheduler, store, "b", [0.1] * 8) == 2
    assert run(scheduler, store, "c", [0.9] * 8) is None
    assert store.prune_reason("target", "b") == f"s/all: {kind} after epoch 2"


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_two_conditions_and_two_repeats_never_share_rungs(store: Store, kind: str) -> None:
    scheduler, search = scheduler_of(store, kind)
    search.members = {
        "a": Member("s/m=20", 0), "b": Member("s/m=5", 0), "c": Member("s/m=20", 1), "d": Member("s/m=20", 0),
    }  # fmt: skip
    assert run(scheduler, store, "a", [0.9] * 8) is None
    assert run(scheduler, store, "b", [0.1] * 8) is None
    assert run(scheduler, store, "c", [0.1] * 8) is None
    assert run(scheduler, store, "d", [0.1] * 8) == 2


def test_what_belongs_to_no_study_is_never_judged(store: Store) -> None:
    scheduler, search = scheduler_of(store)
    search.members = {"a": Member("s/all", 0)}
    run(scheduler, store, "a", [0.9] * 8)
    assert run(scheduler, store, "upstream", [0.0] * 8) is None


def test_the_best_epoch_so_far_counts_and_the_last_epoch_is_not_judged(store: Store) -> None:
    scheduler, search = scheduler_of(store)
    search.members = {key: Member("s/all", 0) for key in "abc"}
    assert run(scheduler, store, "a", [0.5] * 9) is None
    assert run(scheduler, store, "b", [0.6] + [0.1] * 8) is None
    for epoch in (1, 2):
        report(scheduler, "c", epoch, 0.0, n_epochs=2 if epoch == 2 else 9)
    assert store.prune_reason("target", "c") is None


def test_networks_of_an_earlier_run_are_rivals_too(store: Store) -> None:
    scheduler, search = scheduler_of(store)
    search.members = {key: Member("s/all", 0) for key in "ab"}
    history = tuple(Point(epoch, epoch, {"val_dice": 0.9}) for epoch in range(1, 9))
    record = Record(key="a", stage="target", status="done", config={}, history=history)
    scheduler.learn(Node("a", "target", {}), search.members["a"], record)
    assert run(scheduler, store, "b", [0.1] * 8) == 2


@pytest.mark.parametrize(("kind", "given_up"), [("asha", 6), ("median", 4)])
def test_a_network_is_judged_by_the_epochs_after_its_warm_up(store: Store, kind: str, given_up: int) -> None:
    # Rungs of ASHA: 2 and 6. The highest Dice of b lies in its warm-up of three epochs.
    scheduler, search = scheduler_of(store, kind)
    search.members = {key: Member("s/all", 0) for key in "abc"}
    assert run(scheduler, store, "a", [0.1] * 3 + [0.5] * 5, n_warm_up=3) is None
    assert run(scheduler, store, "b", [0.9] * 3 + [0.2] * 5, n_warm_up=3) == given_up
    assert run(scheduler, store, "c", [0.1] * 3 + [0.6] * 5, n_warm_up=3) is None


def test_a_rung_in_the_warm_up_gives_nothing_up_and_keeps_no_value(store: Store) -> None:
    scheduler, search = scheduler_of(store)
    search.members = {key: Member("s/all", 0) for key in "abcd"}
    assert run(scheduler, store, "a", [0.3] * 5) is None
    # Rung 2 lies in the warm-up; epoch 5 is below a's value there. Rung 6 is the first that judges b.
    assert run(scheduler, store, "b", [0.0] * 4 + [0.1, 0.9, 0.9], n_warm_up=4) is None
    # If epoch 5 of c were kept at rung 2, it would beat d's epoch 2 there.
    assert run(scheduler, store, "c", [0.0] * 4 + [0.9, 0.9, 0.9], n_warm_up=4) is None
    assert run(scheduler, store, "d", [0.35] * 5) is None


@pytest.mark.parametrize(("kind", "given_up"), [("asha", 6), ("median", 4)])
def test_the_warm_up_of_a_network_of_an_earlier_run_is_no_rival(
    store: Store, kind: str, given_up: int
) -> None:
    scheduler, search = scheduler_of(store, kind)
    search.members = {key: Member("s/all", 0) for key in "abc"}
    values = enumerate([0.9] * 3 + [0.2] * 6, start=1)
    history = tuple(Point(step, step, {"val_dice": dice, "warm_up_epochs": 3.0}) for step, dice in values)
    record = Record(key="a", stage="target", status="done", config={}, history=history)
    scheduler.learn(Node("a", "target", {}), search.members["a"], record)
    assert run(scheduler, store, "b", [0.0] * 3 + [0.3] * 5, n_warm_up=3) is None
    assert run(scheduler, store, "c", [0.0] * 3 + [0.1] * 5, n_warm_up=3) == given_up


def test_an_epoch_without_the_metric_and_the_last_word_of_a_trial_pass(store: Store) -> None:
    scheduler, search = scheduler_of(store)
    search.members = {"a": Member("s/all", 0)}
    trial = Trial({"node": "a", "stage": "target"})
    for result in ({"epoch": 5, "n_epochs": 9, "metrics/loss": 1.0}, {"node": "a", "published": True}):
        assert scheduler.on_trial_result(Tune(), trial, result) == TrialScheduler.CONTINUE  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(scheduler)).__dict__ == {}
