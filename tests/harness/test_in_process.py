"""A run in this process: no Ray, the same store, the same ends, and the same results bit by bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep import api
from dwp_sweep.config.sections import BudgetConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.dag.ledger import Event, Outcome
from dwp_sweep.harness.in_process import InProcessExecutor
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.heartbeat import live_runs
from dwp_sweep.store.local.store import LocalStore
from tests.harness.test_run import Witness
from tests.harness.toy_search import SEARCH_STAGES, search_space, search_sweep
from tests.harness.toy_stages import STAGES, demo_sweep, log_lines, runs_of, slow_sweep, toy_node, toy_sweep


def run(
    sweep: Sweep, root: Path, witness: Witness | None = None, stages: Any = STAGES, **options: Any
) -> Outcome:
    how = RunOptions(**{"here": True, **options})
    return run_sweep(sweep, LocalStore(root), options=how, progress=witness or Witness(), stages=stages)


def test_a_demo_runs_in_this_process_in_the_order_of_its_dag_without_ray(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    code = (
        "import sys; from pathlib import Path; from tests.harness import test_in_process as t\n"
        "outcome = t.run(t.demo_sweep(sys.argv[2]), Path(sys.argv[1]))\n"
        "heavy = sorted({'ray', 'optuna', 'mlflow'} & {*sys.modules})\n"
        "print(outcome.exit_code, outcome.counts['done'], heavy)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "storage"), str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 26 []"
    lines = log_lines(log)
    assert len({pid for _, _, pid in lines}) == 1 and lines[0][2] != str(os.getpid())
    begun = runs_of(log)
    assert begun.index("harvest") > max(begun.index("source0"), begun.index("source1"))
    assert set(Counter(begun).values()) == {1}


def test_the_display_is_told_and_other_terminals_see_what_is_in_hand(tmp_path: Path) -> None:
    store, witness = LocalStore(tmp_path), Witness()
    seen: list[str] = []

    def event(event: Event) -> None:
        witness.events.append(event)
        if event.kind == "epoch":
            seen.extend(live.host for live in live_runs(store, "toy"))

    witness.event = event  # type: ignore[method-assign]
    assert run(demo_sweep(n_targets=4), tmp_path, witness).exit_code == 0
    assert witness.n_slots == 1 and seen
    assert len(witness.titles("started")) == len(witness.titles("done")) == 14
    assert run(demo_sweep(n_targets=4), tmp_path).counts["cached"] == 14
    assert not live_runs(store)


def test_a_failure_blocks_its_descendants_and_keeps_its_traceback(tmp_path: Path) -> None:
    bad = toy_node("source", "bad", behaviour="has a bug")
    child, free = toy_node("target", "child", [bad]), toy_node("target", "free")
    outcome = run(toy_sweep(bad, child, free), tmp_path)
    assert (outcome.exit_code, outcome.blocked, outcome.counts["done"]) == (1, (child,), 1)
    record = LocalStore(tmp_path).record("source", bad.key)
    assert record is not None and record.error is not None
    assert "ZeroDivisionError" in record.error and "toy_stages.py" in record.error


def test_ctrl_c_drains_at_the_checkpoint_and_the_same_command_repeats_no_epoch(tmp_path: Path) -> None:
    log, witness = tmp_path / "log.txt", Witness()

    def event(event: Event) -> None:
        if event.kind == "epoch" and event.epoch == 3:
            os.kill(os.getpid(), signal.SIGINT)

    witness.event = event  # type: ignore[method-assign]
    outcome = run(slow_sweep(log), tmp_path / "storage", witness)
    assert (outcome.exit_code, outcome.counts["waiting"]) == (130, 4)
    assert runs_of(log, "epoch 3") == ["slow0"] and not runs_of(log, "epoch 4")
    sweep = toy_sweep(next(iter(slow_sweep(log).nodes.values())))
    assert run(sweep, tmp_path / "storage").exit_code == 0
    assert set(Counter(runs_of(log, f"epoch {epoch}")[0] for epoch in range(1, 41)).values()) == {40}
    assert len(runs_of(log, "epoch 2")) == 1


def test_a_budget_ends_it_with_3_and_the_running_node_goes_on_to_its_end(tmp_path: Path) -> None:
    nodes = [toy_node("target", f"t{i}", n_epochs=8, epoch_s=0.2) for i in range(3)]
    outcome = run(replace(toy_sweep(*nodes), budget=BudgetConfig(wall="1s")), tmp_path)
    assert (outcome.exit_code, outcome.counts["done"], outcome.counts["waiting"]) == (3, 1, 2)


def test_a_budget_may_send_the_running_node_to_its_checkpoint_and_the_next_run_goes_on(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log.txt"
    nodes = [toy_node("target", f"t{i}", log=str(log), n_epochs=8, epoch_s=0.2) for i in range(2)]
    budget = BudgetConfig(wall="1s", at_end="checkpoint")
    witness = Witness()
    outcome = run(replace(toy_sweep(*nodes), budget=budget), tmp_path / "storage", witness)
    assert (outcome.exit_code, outcome.counts["done"], outcome.counts["waiting"]) == (3, 0, 2)
    assert outcome.spent.startswith("budget.wall = 1s is spent")
    notes = [event.text for event in witness.events if event.kind == "note"]
    assert [note for note in notes if note.endswith("running nodes leave at their checkpoints")], notes
    assert [event.node for event in witness.events if event.kind == "stopped"] == [nodes[0]]
    assert not list((tmp_path / "storage").rglob("stop-*"))
    again = run(toy_sweep(*nodes), tmp_path / "storage")
    assert (again.exit_code, again.counts["done"]) == (0, 2)
    epochs = [(name, what) for name, what, _ in log_lines(log) if what.startswith("epoch")]
    assert len(epochs) == len(set(epochs)) == 16, "an epoch that was kept is not done again"


def test_the_start_of_the_machines_does_not_count_into_the_wall_of_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SlowStart(InProcessExecutor):
        @contextmanager
        def open(self) -> Iterator[None]:
            time.sleep(2.1)
            with super().open():
                yield

    monkeypatch.setattr("dwp_sweep.harness.run.InProcessExecutor", SlowStart)
    nodes = [toy_node("target", f"t{i}") for i in range(2)]
    outcome = run(replace(toy_sweep(*nodes), budget=BudgetConfig(wall="2s")), tmp_path)
    assert (outcome.exit_code, outcome.counts["done"]) == (0, 2) and outcome.wall_s > 2.1


def test_resources_that_this_machine_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"resources\.target: asks for 4096 CPUs"):
        run(toy_sweep(toy_node("target", "huge"), cpu=4096.0), tmp_path)


def test_a_search_runs_here_where_it_gives_nothing_up_early(tmp_path: Path) -> None:
    log, space = tmp_path / "log.txt", search_space(n_trials=4, scheduler={"kind": "none"})
    outcome = run(search_sweep(space, log), tmp_path / "storage", stages=SEARCH_STAGES)
    assert (outcome.exit_code, outcome.counts["waiting"], outcome.counts["failed"]) == (0, 0, 0)
    assert set(Counter(log.read_text().splitlines()).values()) == {1}


def test_what_needs_ray_is_refused_in_words(tmp_path: Path) -> None:
    search = search_sweep(search_space(n_trials=4, scheduler={"kind": "asha"}))
    with pytest.raises(InputError, match=r"scheduler\.kind = asha .*--set scheduler\.kind=none"):
        run(search, tmp_path, stages=SEARCH_STAGES)
    with pytest.raises(InputError, match="--address ray://head:1 names a cluster"):
        run(toy_sweep(toy_node("target", "any")), tmp_path, address="ray://head:1")
    with pytest.raises(InputError, match="--address auto names a cluster"):
        api.run_sweep({}, tmp_path, address="auto", here=True)


TINY = """
name: tiny
data:
  source: {layout: phantom, phantom: {kind: source, n_subjects: 4, shape: [16, 16, 16]},
           preprocess: {shape: [16, 16, 16]}, n_val: 1, n_test: 1}
  target: {layout: phantom, phantom: {kind: target, n_subjects: 4, shape: [16, 16, 16]},
           preprocess: {shape: [16, 16, 16]}, n_val: 1, n_test: 1}
fixed:
  train_size: 2
  source: {n_seeds: 1, n_cycles: 1, max_epochs: 2, steps_per_epoch: 2}
  prior: {max_epochs: 2, steps_per_epoch: 2}
  target: {max_epochs: 2, steps_per_epoch: 2}
grid:
  method: [random_init, fine_tune, freeze_middle, deep_weight_prior]
"""


def results(root: Path) -> dict[str, Any]:
    """Of every published node: its metrics but the times, and the checksums of its files but the pictures."""
    found = {}
    for path in sorted(root.glob("*/*/record.json")):
        record = json.loads(path.read_text())
        metrics = {name: value for name, value in record["metrics"].items() if name != "wall_s"}
        history = [(point["step"], point["metrics"]) for point in record["history"]]
        found[record["key"]] = (record["stage"], metrics, history, checksums(path.with_name("manifest.json")))
    return found


def checksums(manifest: Path) -> dict[str, Any]:
    files = json.loads(manifest.read_text())["files"]
    return {name: value for name, value in files.items() if name.endswith(".safetensors")}


@pytest.mark.slow
def test_results_are_those_of_ray_tune_bit_by_bit(ray_cluster: None, tmp_path: Path) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY)
    ends = {}
    for name, here in (("here", True), ("tune", False)):
        finished = api.run_sweep(space, tmp_path / name, f"sqlite:///{tmp_path}/mlflow.db", here=here)
        assert finished.exit_code == 0 and finished.tracking.online
        ends[name] = results(tmp_path / name)
    assert len(ends["here"]) == 13 and sum(len(end[-1]) for end in ends["here"].values()) >= 13
    assert ends["here"] == ends["tune"]
