"""The whole harness on a real local Ray with toy stages."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.sections import LOST_RETRIES
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.dag.ledger import Event, Ledger, Outcome
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.local.store import LocalStore
from tests.benchmarks.sleeping import STAGES as SLEEPING
from tests.benchmarks.sleeping import flat
from tests.harness.looking_stage import HEAVY, look
from tests.harness.toy_stages import STAGES, demo_sweep, log_lines, runs_of, slow_sweep, toy_node, toy_sweep


class Witness:
    """A display that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.n_slots = 0
        self.outcome: Outcome | None = None
        self.is_closed = False

    def open(self, title: str, ledger: Ledger, where: Mapping[str, str]) -> None:
        self.where = where

    def event(self, event: Event) -> None:
        self.events.append(event)

    def slots(self, n_slots: int) -> None:
        self.n_slots = n_slots

    def close(self, outcome: Outcome | None) -> None:
        self.outcome, self.is_closed = outcome, True

    def titles(self, kind: str) -> list[str]:
        return [event.node.title for event in self.events if event.kind == kind and event.node]


def run(sweep: Sweep, root: Path, witness: Witness | None = None, **options: Any) -> Outcome:
    return run_sweep(
        sweep, LocalStore(root), options=RunOptions(**options), progress=witness or Witness(), stages=STAGES
    )


@dataclass(frozen=True)
class Demo:
    """A demo that has been run once."""

    root: Path
    log: Path
    sweep: Sweep
    witness: Witness
    outcome: Outcome
    lines: list[tuple[str, str, str]]


@pytest.fixture(scope="module")
def demo(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    root, log, witness = folder / "storage", folder / "log.txt", Witness()
    sweep = demo_sweep(log)
    outcome = run(sweep, root, witness)
    return Demo(root, log, sweep, witness, outcome, log_lines(log))


def test_a_demo_runs_in_the_order_of_its_dag_every_node_once(demo: Demo) -> None:
    assert (demo.outcome.exit_code, demo.outcome.counts["done"]) == (0, 26)
    names = {node.key: str(node.config["name"]) for node in demo.sweep.nodes.values()}
    parents = {names[node.key]: {names[key] for _, key in node.parents} for node in demo.sweep.nodes.values()}
    ended: set[str] = set()
    begun: list[str] = []
    for name, what, _ in demo.lines:
        if what == "begin":
            assert parents[name] <= ended, f"{name} began before its inputs were there"
            begun.append(name)
        if what == "end":
            ended.add(name)
    assert sorted(begun) == sorted(names.values())


def test_the_display_is_told_of_every_node_and_workers_are_reused(demo: Demo) -> None:
    assert demo.witness.outcome == demo.outcome and demo.witness.n_slots >= 1
    assert demo.witness.where == {"storage": str(demo.root)}
    assert len(demo.witness.titles("started")) == len(demo.witness.titles("done")) == 26
    assert len({pid for _, _, pid in demo.lines}) < 8
    assert list((demo.root / "ray").iterdir()) == [], "what Tune wrote is of no use after a good run"


def test_the_same_command_again_builds_nothing_and_does_not_ask_for_ray(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_lines = len(log_lines(demo.log))
    monkeypatch.setattr(
        "dwp_sweep.harness.tune.executor.ray_session", lambda address: pytest.fail("Ray was asked for")
    )
    outcome = run(demo.sweep, demo.root)
    assert (outcome.exit_code, outcome.counts["cached"], outcome.counts["done"]) == (0, 26, 0)
    assert len(log_lines(demo.log)) == n_lines


def test_a_larger_grid_builds_only_what_is_new(demo: Demo) -> None:
    outcome = run(demo_sweep(demo.log, n_targets=18), demo.root)
    assert (outcome.counts["cached"], outcome.counts["done"]) == (26, 2)
    assert set(Counter(runs_of(demo.log)).values()) == {1}


def test_failed_nodes_block_only_their_descendants_and_are_tried_again_next_time(
    ray_cluster: None, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    source = toy_node("source", "source", (), log)
    bad = toy_node("source", "bad", (), log, behaviour="fails without permit")
    diverged = toy_node("target", "diverged", [source], log, behaviour="diverges")
    child, bad_child = toy_node("target", "child", [source], log), toy_node("target", "bad child", [bad], log)
    sweep = toy_sweep(source, bad, diverged, child, bad_child)
    outcome = run(sweep, tmp_path / "storage")
    assert outcome.exit_code == 1
    assert outcome.counts == {"done": 2, "cached": 0, "pruned": 0, "failed": 2, "blocked": 1, "waiting": 0}
    messages = {node.key: message for node, message in outcome.failed}
    assert messages[bad.key] == "RuntimeError: not permitted"
    assert "last finite step" in messages[diverged.key]
    assert outcome.blocked == (bad_child,)
    assert Counter(runs_of(log)) == {"source": 1, "bad": 1, "diverged": 1, "child": 1}

    left_alone = run(sweep, tmp_path / "storage", retry_failed=False)
    assert (left_alone.exit_code, left_alone.counts["failed"], left_alone.counts["blocked"]) == (1, 2, 1)
    Path(f"{log}.permit").touch()
    again = run(sweep, tmp_path / "storage")
    assert (again.counts["done"], again.counts["failed"], again.counts["cached"]) == (2, 1, 2)


def test_a_node_whose_worker_is_killed_goes_on_from_its_checkpoint(ray_cluster: None, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    node = toy_node("target", "victim", (), log, behaviour="dies once", n_epochs=5)
    witness = Witness()
    assert run(toy_sweep(node), tmp_path / "storage", witness).exit_code == 0
    epochs = [what for _, what, _ in log_lines(log) if what.startswith("epoch")]
    assert epochs == [f"epoch {epoch}" for epoch in range(1, 6)]
    assert len(runs_of(log)) == 2
    assert any("worker died" in event.text for event in witness.events if event.kind == "retry")


@pytest.mark.slow
def test_a_node_that_always_kills_its_worker_fails_by_name_and_the_rest_goes_on(
    ray_cluster: None, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    killer = toy_node("target", "killer", (), log, behaviour="always dies")
    others = [toy_node("target", f"other{i}", (), log) for i in range(3)]
    sweep = toy_sweep(killer, *others)
    outcome = run(sweep, tmp_path / "storage")
    assert outcome.counts["done"] == 3
    assert [node for node, _ in outcome.failed] == [killer]
    assert "worker died" in outcome.failed[0][1]
    assert Counter(runs_of(log))["killer"] == 1 + LOST_RETRIES
    record = LocalStore(tmp_path / "storage").record("target", killer.key)
    assert record is not None and record.status == "failed"


def test_a_worker_of_a_real_run_has_loaded_none_of_them(ray_cluster: None, tmp_path: Path) -> None:
    sweep, store = flat(1, 0.0), LocalStore(tmp_path)
    stages = {"target": replace(SLEEPING["target"], run=look)}
    assert run_sweep(sweep, store, stages=stages).exit_code == 0
    record = store.record("target", next(iter(sweep.nodes)))
    assert record is not None
    assert [name for name in HEAVY if record.metrics[name]] == []


@pytest.mark.slow
def test_a_worker_that_cannot_be_reset_does_not_hang_the_sweep(ray_cluster: None, tmp_path: Path) -> None:
    # Tune aborts the next trial of such a worker and never tells the searcher.
    log = tmp_path / "log.txt"
    spoilers = [
        toy_node("source", f"spoiler{i}", (), log, behaviour="spoils the reset of its actor")
        for i in range(2)
    ]
    harvest = toy_node("harvest", "harvest", spoilers, log)
    targets = [toy_node("target", f"target{i}", [harvest], log) for i in range(4)]
    witness = Witness()
    outcome = run(toy_sweep(*spoilers, harvest, *targets), tmp_path / "storage", witness)
    assert (outcome.exit_code, outcome.counts["done"]) == (0, 7)
    assert witness.titles("retry"), "the trap did not snap: the test shows nothing"


@pytest.mark.slow
def test_a_worker_that_ran_out_of_device_memory_is_not_used_again(ray_cluster: None, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    greedy = toy_node("target", "greedy", (), log, behaviour="runs out of device memory")
    others = [toy_node("target", f"other{i}", (), log) for i in range(4)]
    outcome = run(toy_sweep(greedy, *others), tmp_path / "storage", max_concurrent=1)
    assert outcome.counts["done"] == 4
    assert outcome.failed == ((greedy, "out of memory: lower target.batch_size"),)
    pids = {name: pid for name, what, pid in log_lines(log) if what == "begin"}
    assert Counter(runs_of(log))["greedy"] == 1
    assert all(pids[f"other{i}"] != pids["greedy"] for i in range(4))


def test_a_local_ray_refuses_resources_that_the_machine_lacks(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dwp_sweep.harness.tune.executor.ray_session", lambda address: contextlib.nullcontext(True)
    )
    witness = Witness()
    with pytest.raises(InputError, match=r"resources\.target: asks for 4096 CPUs"):
        run(toy_sweep(toy_node("target", "huge"), cpu=4096.0), tmp_path / "storage", witness)
    assert witness.outcome is None and witness.is_closed


def test_resources_that_the_cluster_lacks_are_waited_for_with_a_note_and_ctrl_c_ends_the_wait(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dwp_sweep.harness.tune.executor.cluster_grows", lambda: True)
    node = toy_node("target", "huge")
    witness = Witness()
    sweep = toy_sweep(node, cpu=4096.0)
    interrupt_when_noted = witness.event

    def event(event: Event) -> None:
        interrupt_when_noted(event)
        if "waits until the cluster grows" in event.text:
            os.kill(os.getpid(), signal.SIGINT)

    witness.event = event  # type: ignore[method-assign]
    assert run(sweep, tmp_path / "storage", witness).exit_code == 130


SCRIPT = """
import sys
from pathlib import Path
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.local.store import LocalStore
from tests.harness.toy_stages import STAGES, slow_sweep
sys.exit(run_sweep(slow_sweep(sys.argv[2]), LocalStore(Path(sys.argv[1])), stages=STAGES).exit_code)
"""


def start_process(root: Path, log: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(root), str(log)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, start_new_session=True)


def wait_for(log: Path, what: str, process: subprocess.Popen[str]) -> None:
    while not runs_of(log, what):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


@pytest.mark.slow
def test_ctrl_c_drains_and_the_same_command_repeats_no_epoch(ray_cluster: None, tmp_path: Path) -> None:
    root, log = tmp_path / "storage", tmp_path / "log.txt"
    process = start_process(root, log)
    wait_for(log, "epoch 3", process)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to Ray's processes, too
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command goes on from here" in output
    assert not list((root / "sweeps" / "toy").glob("stop-*"))
    assert 1 <= len(runs_of(log)) <= 2 and not runs_of(log, "end")

    assert run(slow_sweep(log), root).exit_code == 0
    epochs = Counter((name, what) for name, what, _ in log_lines(log) if what.startswith("epoch"))
    assert len(epochs) == 4 * 40 and set(epochs.values()) == {1}


@pytest.mark.slow
def test_a_worker_that_reads_scans_is_heard_and_no_epoch_comes_of_it(
    ray_cluster: None, tmp_path: Path
) -> None:
    witness, node = Witness(), toy_node("target", "one", behaviour="reads scans")
    run(toy_sweep(node), tmp_path, witness)

    heard = [event for event in witness.events if event.kind in ("reading", "epoch")]
    assert heard[0].kind == "reading" and heard[0].text == "reading scans 31/275"
    assert all(event.kind == "epoch" and event.epoch >= 1 for event in heard[1:])
    record = LocalStore(tmp_path).record("target", node.key)
    assert record is not None and [point.step for point in record.history] == [1, 2]
