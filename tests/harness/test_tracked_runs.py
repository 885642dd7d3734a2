"""A node is one complete MLflow run, however often its sweep was run, stopped or cut off from MLflow.

The public `api.run_sweep` on a real Ray with a real SQLite MLflow; only the stages are toys.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep import api
from dwp_sweep.api import running
from dwp_sweep.config.node import Node
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness import run as harness_run
from dwp_sweep.harness.dag.ledger import Event, Ledger, Outcome
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Record, read_history
from dwp_sweep.tracking.client import mlflow_client
from dwp_sweep.tracking.write.parent import open_tracking
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep

pytestmark = pytest.mark.slow
DEAD = "http://127.0.0.1:9"

Run = Callable[..., api.SweepRun]
Values = dict[str, list[tuple[int, float]]]


class Display:
    """Shows nothing; interrupts the run once a node has told of its fourth epoch, if asked to."""

    def __init__(self, interrupts: bool = False) -> None:
        self.interrupts = interrupts

    def open(self, title: str, ledger: Ledger, where: Mapping[str, str]) -> None:
        return None

    def slots(self, n_slots: int) -> None:
        return None

    def event(self, event: Event) -> None:
        if self.interrupts and event.kind == "epoch" and event.epoch >= 4:
            self.interrupts = False
            os.kill(os.getpid(), signal.SIGINT)

    def close(self, outcome: Outcome | None) -> None:
        return None


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all: making it costs seconds. Each test has an experiment of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    assert open_tracking(uri, folder, "first", {}).online
    return uri


@pytest.fixture
def run(ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`api.run_sweep` with toy stages: ``(sweep, tracking URI)``."""
    with_toys = functools.partial(harness_run.run_sweep, stages=STAGES)
    monkeypatch.setattr(harness_run, "run_sweep", with_toys)

    def run(sweep: Sweep, uri: str, interrupts: bool = False, **options: Any) -> api.SweepRun:
        monkeypatch.setattr(running, "read_sweep", lambda *arguments: sweep)
        return api.run_sweep({}, tmp_path, uri, progress=Display(interrupts), **options)

    return run


def small_sweep(name: str) -> Sweep:
    source = toy_node("source", "source", n_epochs=3)
    harvest = toy_node("harvest", "harvest", [source], n_epochs=1)
    targets = [toy_node("target", f"target{i}", [harvest], n_epochs=2 + i) for i in range(2)]
    return toy_sweep(source, harvest, *targets, name=name)


def runs_of(uri: str, sweep: Sweep) -> dict[str, Any]:
    """The one run of each node that has any, by its key."""
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name(sweep.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`dwp.key` != ''")
    assert len({run.data.tags["dwp.key"] for run in runs}) == len(runs), "a node has two runs"
    return {run.data.tags["dwp.key"]: run for run in runs}


def parent_status(uri: str, run: api.SweepRun) -> str:
    return str(mlflow_client(uri).get_run(run.tracking.parent_run_id).info.status)


def logged(uri: str, run: Any) -> Values:
    """Every value that MLflow keeps of a run, the doubled ones too."""
    client = mlflow_client(uri)
    return {
        name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }


def expected(record: Record) -> Values:
    values: Values = {}
    for point in record.history:
        for name, value in point.metrics.items():
            values.setdefault(name, []).append((point.step, value))
    last = record.history[-1].step
    return values | {name: [(last, value)] for name, value in record.metrics.items()}


def record_of(node: Node, root: Path) -> Record:
    record = LocalStore(root).record(node.stage, node.key)
    assert record is not None
    return record


def assert_mirrors(uri: str, sweep: Sweep, root: Path) -> dict[str, str]:
    """MLflow holds what the store holds, once; the run ids by node."""
    runs = runs_of(uri, sweep)
    assert runs.keys() == sweep.nodes.keys()
    for key, node in sweep.nodes.items():
        record = record_of(node, root)
        assert runs[key].info.status == "FINISHED", node.title
        assert logged(uri, runs[key]) == expected(record), node.title
        assert runs[key].info.start_time <= record.history[0].time_ms
        files = {item.path for item in mlflow_client(uri).list_artifacts(runs[key].info.run_id)}
        assert files == {"out.json", "record.json"}
    return {key: run.info.run_id for key, run in runs.items()}


def test_the_same_command_again_adds_no_run_and_doubles_no_metric(run: Run, uri: str, tmp_path: Path) -> None:
    sweep = small_sweep("again")
    first = run(sweep, uri)
    assert first.exit_code == 0 and first.outcome.counts["done"] == 4
    run_ids = assert_mirrors(uri, sweep, tmp_path)
    second = run(sweep, uri)
    assert second.exit_code == 0 and second.outcome.counts["cached"] == 4
    assert assert_mirrors(uri, sweep, tmp_path) == run_ids
    assert first.tracking.parent_run_id == second.tracking.parent_run_id
    assert parent_status(uri, second) == "FINISHED"


def test_a_sweep_that_was_interrupted_goes_on_in_the_runs_that_it_began(
    run: Run, uri: str, tmp_path: Path
) -> None:
    nodes = [toy_node("target", f"slow{i}", n_epochs=60, epoch_s=0.1) for i in range(2)]
    sweep = toy_sweep(*nodes, name="interrupted")
    first = run(sweep, uri, interrupts=True)
    assert first.exit_code == 130 and parent_status(uri, first) == "KILLED"
    begun = runs_of(uri, sweep)
    assert begun and {run.info.status for run in begun.values()} == {"KILLED"}
    for key, mlflow_run in begun.items():
        kept = read_history(LocalStore(tmp_path).work_dir("target", key) / "history.jsonl")
        assert 0 < len(kept) < 60
        # All that the node did before it left has arrived: the last epochs wait in the worker for a while.
        assert logged(uri, mlflow_run) == {"val_loss": [(p.step, p.metrics["val_loss"]) for p in kept]}

    second = run(sweep, uri)
    assert second.exit_code == 0 and parent_status(uri, second) == "FINISHED"
    run_ids = assert_mirrors(uri, sweep, tmp_path)
    assert {key: run_ids[key] for key in begun} == {key: run.info.run_id for key, run in begun.items()}
    for node in nodes:
        assert [point.step for point in record_of(node, tmp_path).history] == list(range(1, 61))


def test_a_sweep_that_ran_without_mlflow_arrives_complete_once_there_is_one(
    run: Run, uri: str, tmp_path: Path
) -> None:
    sweep = small_sweep("cut off")
    said: list[str] = []
    offline = run(sweep, DEAD, say=said.append)
    assert not offline.tracking.online and any("the same command sends them" in line for line in said)
    assert offline.exit_code == 0 and offline.outcome.counts["done"] == 4
    online = run(sweep, uri)
    assert online.exit_code == 0 and online.outcome.counts["cached"] == 4
    run_ids = assert_mirrors(uri, sweep, tmp_path)
    for key, node in sweep.nodes.items():
        # As if it had been there: times are those of the work, not of the delivery.
        info = mlflow_client(uri).get_run(run_ids[key]).info
        assert info.start_time == record_of(node, tmp_path).started_ms
    assert parent_status(uri, online) == "FINISHED"
