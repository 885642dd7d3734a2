"""Two drivers on one storage: what one builds the other leaves alone, waits for in no slot, and takes up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from dwp_sweep.config.node import Node, entries_of
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness import dispatch
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Event, Ledger
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.dag.resources import Admission, Resources
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.harness.tune.searcher import DagSearcher
from dwp_sweep.harness.view.status import sweep_status
from dwp_sweep.harness.view.text import event_text
from dwp_sweep.store.heartbeat import Heartbeat
from dwp_sweep.store.lease import Leases, holder_of
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import record_nodes
from tests.harness.test_run import Witness, start_process
from tests.harness.toy_stages import STAGES, log_lines, slow_sweep, toy_node, toy_sweep

SOURCE = toy_node("source", "source")
CHILD = toy_node("target", "child", [SOURCE])
FREE = toy_node("target", "free")
SWEEP = toy_sweep(SOURCE, CHILD, FREE)


class Driver:
    """A driver without Ray: what it hands out is built by `build`."""

    def __init__(self, store: Store, name: str, sweep: Sweep = SWEEP) -> None:
        self.store, self.events, self.n_trials = store, [], 0  # type: ignore[var-annotated]
        ledger = Ledger(make_plan(sweep, store), Durations(), self.events.append)
        shapes = {stage: Resources(1, 0) for stage in STAGES}
        self.leases = Leases(store, "toy", name)
        self.searcher = DagSearcher(
            Dispatch(ledger, store, Admission(lambda: [Resources(8, 0)]), shapes, leases=self.leases)
        )

    def suggest(self) -> str | None:
        self.n_trials += 1
        found = self.searcher.suggest(str(self.n_trials))
        return found["node"] if isinstance(found, dict) else found

    def state(self, node: Node) -> str:
        return self.searcher.dispatch.ledger.board.states[node.key]

    def end(self, node: Node) -> None:
        (trial,) = [
            t for t, work in self.searcher.dispatch.ledger.in_hand.work.items() if work.node.key == node.key
        ]
        self.searcher.on_trial_complete(trial, {})

    def build(self, node: Node) -> None:
        run_node(node, STAGES[node.stage], self.store)
        self.end(node)

    def texts(self, kind: str) -> list[str]:
        return [event_text(event) for event in self.events if event.kind == kind]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "storage")


@pytest.fixture
def two(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Driver, Driver]]:
    """Two drivers that live, the first with SOURCE in hand; they look at each other whenever asked."""
    monkeypatch.setattr(dispatch, "_LOOK_EVERY_S", 0.0)
    with ExitStack() as stack:
        for name in ("one", "two"):
            stack.enter_context(Heartbeat(store, "toy", name))
        one, other = Driver(store, "one"), Driver(store, "two")
        assert one.suggest() == SOURCE.key
        yield one, other


def test_a_node_that_another_run_builds_is_left_and_others_go_on(two: tuple[Driver, Driver]) -> None:
    one, other = two
    assert other.suggest() == FREE.key
    assert other.state(SOURCE) == "leased_by_other" and other.state(CHILD) == "waiting"
    assert other.texts("leased_by_other") == [
        f"left to  source source: built by another run on {os.uname().nodename} (sweep toy)"
    ]
    other.build(FREE)
    assert other.suggest() is None, "it ended although a node of its sweep is being built"
    one.build(SOURCE)
    assert other.suggest() == CHILD.key
    assert other.state(SOURCE) == "cached" and other.texts("published_by_other")
    assert one.suggest() is None and one.state(CHILD) == "leased_by_other"
    other.build(CHILD)
    assert other.suggest() == one.suggest() == Searcher.FINISHED
    assert one.searcher.dispatch.ledger.board.counts() == {"done": 1, "cached": 2}
    assert not list(one.store.root.glob("work/*/*")), "leases of published nodes stay behind"


def test_what_the_other_run_gave_back_or_died_over_is_taken_up(two: tuple[Driver, Driver]) -> None:
    one, other = two
    other.suggest()
    one.leases.close()
    assert other.suggest() == SOURCE.key
    assert "the run that was building it has ended without it" in other.texts("retry")[0]


def test_a_failure_of_the_other_run_counts_and_is_not_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_LOOK_EVERY_S", 0.0)
    bad = toy_node("source", "bad", behaviour="diverges")
    sweep = toy_sweep(bad, toy_node("target", "child of bad", [bad]))
    with Heartbeat(store, "toy", "one"), Heartbeat(store, "toy", "two"):
        one, other = Driver(store, "one", sweep), Driver(store, "two", sweep)
        assert one.suggest() == bad.key and other.suggest() is None
        one.build(bad)
        assert other.suggest() == Searcher.FINISHED
        assert other.searcher.dispatch.ledger.board.counts() == {"failed": 1, "blocked": 1}
        assert "last finite step" in other.searcher.dispatch.ledger.messages[bad.key]


def test_a_run_that_stops_waits_for_nobody(two: tuple[Driver, Driver]) -> None:
    _, other = two
    other.suggest()
    other.build(FREE)
    other.searcher.dispatch.ledger.drain()
    assert other.suggest() == Searcher.FINISHED


def test_a_node_that_was_published_while_its_lease_was_taken_is_not_built_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(store, "one", toy_sweep(SOURCE, targets=[SOURCE]))
    take = driver.leases.take

    def published_just_before(stage: str, key: str) -> object:
        run_node(SOURCE, STAGES["source"], store)
        return take(stage, key)

    monkeypatch.setattr(driver.leases, "take", published_just_before)
    assert driver.suggest() == Searcher.FINISHED
    assert driver.state(SOURCE) == "cached" and not list(store.root.glob("work/*/*"))


def test_status_names_the_run_of_another_sweep_that_builds_a_node(store: Store) -> None:
    record_nodes(store, "mine", entries_of(SWEEP.nodes.values(), SWEEP.targets))
    theirs = Driver(store, "theirs")
    theirs.suggest()
    theirs.searcher.dispatch.ledger.started("1")
    with Heartbeat(
        store, "toy", "theirs", lambda: {"in_hand": theirs.searcher.dispatch.ledger.in_hand.entries()}
    ):
        found = sweep_status("mine", store)
    (running,) = found.in_state("running")
    assert running.title == "source source" and found.runs == ()
    assert running.by == f"built by another run on {os.uname().nodename} (sweep toy)"


def epochs_of(log: Path) -> Counter[tuple[str, str]]:
    return Counter((name, what) for name, what, _ in log_lines(log) if what.startswith("epoch"))


@pytest.mark.slow
def test_two_drivers_share_a_sweep_and_each_node_is_built_once(ray_cluster: None, tmp_path: Path) -> None:
    root, log, witness = tmp_path / "storage", tmp_path / "log.txt", Witness()
    other = start_process(root, log)  # with a Ray of its own
    outcome = run_sweep(
        slow_sweep(log),
        LocalStore(root),
        options=RunOptions(max_concurrent=1),
        progress=witness,
        stages=STAGES,
    )
    output, _ = other.communicate(timeout=120)
    assert (outcome.exit_code, other.returncode) == (0, 0), output
    assert len(epochs_of(log)) == 4 * 40 and set(epochs_of(log).values()) == {1}
    begun = Counter(name for name, what, _ in log_lines(log) if what == "begin")
    assert set(begun.values()) == {1}
    assert outcome.counts["done"] + outcome.counts["cached"] == 4
    assert not list(root.glob("work/*/*/lease-*"))


SLEEPER = """
import json, os, sys, time
from pathlib import Path
from dwp_sweep.store.lease import Leases
from dwp_sweep.store.heartbeat import Heartbeat
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
store = LocalStore(Path(sys.argv[1]))
with Heartbeat(store, "toy", "sleeper"):
    Leases(store, "toy", "sleeper").take("target", sys.argv[2])
    print("taken", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_sweep_waits_without_a_trial_and_goes_on_when_the_lease_dies(
    ray_cluster: None, tmp_path: Path
) -> None:
    root, log, witness = tmp_path / "storage", tmp_path / "log.txt", Witness()
    node = toy_node("target", "free", log=log)
    command = [sys.executable, "-c", SLEEPER, str(root), node.key]
    sleeper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert sleeper.stdout is not None and sleeper.stdout.readline() == "taken\n"
    tell = witness.event

    def event(event: Event) -> None:
        tell(event)
        if event.kind == "leased_by_other":
            assert log_lines(log) == []
            time.sleep(1)
            sleeper.send_signal(signal.SIGKILL)

    witness.event = event  # type: ignore[method-assign]
    try:
        assert run_sweep(toy_sweep(node), LocalStore(root), progress=witness, stages=STAGES).exit_code == 0
    finally:
        sleeper.kill()
        sleeper.communicate()
    assert (
        witness.titles("leased_by_other") == witness.titles("retry") == witness.titles("done") == [node.title]
    )
    assert holder_of(LocalStore(root), "target", node.key) is None
    assert (
        json.loads((LocalStore(root).node_dir("target", node.key) / "out.json").read_text())["name"] == "free"
    )
