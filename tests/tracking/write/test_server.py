"""The same over REST, as a remote user has it, with a server that dies and comes back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dwp_sweep.harness.dag.unsent import Unsent
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.client import mlflow_client
from dwp_sweep.tracking.read.best import best_config
from dwp_sweep.tracking.read.files import download_outputs
from dwp_sweep.tracking.write import outage
from dwp_sweep.tracking.write.catch_up import CatchUp
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.parent import open_tracking
from dwp_sweep.tracking.write.sync import SyncReport, sync_records
from tests.tracking.conftest import make_node, make_record, publish
from tests.tracking.mlflow_server import Server

pytestmark = pytest.mark.slow

PAUSE_S = 0.5


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_FIRST_PAUSE_S", PAUSE_S)
    monkeypatch.setattr(outage, "_LONGEST_PAUSE_S", PAUSE_S)
    monkeypatch.setattr(outage, "_SHARE", 0.1)


@pytest.fixture
def server(tmp_path: Path, uri: str) -> Iterator[Server]:
    started = Server(tmp_path, uri)
    started.start()
    yield started
    started.stop()


def test_a_server_that_dies_in_mid_node_costs_nothing_but_a_later_sync(
    server: Server, store: Store, sweep_name: str
) -> None:
    tracking = open_tracking(server.uri, store.root, sweep_name, {})
    assert tracking.online, tracking.problem
    source = make_node("s", "source", seed=0)
    target = make_node(
        "t", "target", {"source": (source,)}, method="fine_tune", train_size=5, split=0, seed=0
    )
    records = {node.key: make_record(node, best_val_dice=0.6, test_dice=0.5) for node in (source, target)}
    runs = {node.key: NodeRun(tracking, node, flush_s=0) for node in (source, target)}

    runs["s"].start()
    runs["s"].finish(records["s"], publish(store, source, records["s"]))
    runs["t"].start()
    runs["t"].epoch(records["t"].history[0])
    assert runs["s"].online and runs["t"].online
    server.stop()
    for point in records["t"].history[1:]:
        runs["t"].epoch(point)
    runs["t"].finish(records["t"], publish(store, target, records["t"]))
    assert not runs["t"].online
    assert sync_records(tracking, [source, target], store).problem

    server.start()
    assert sync_records(tracking, [source, target], store) == SyncReport(sent=1, complete=1)
    client = mlflow_client(server.uri)
    assert [m.step for m in client.get_metric_history(runs["t"].run_id, "val_dice")] == [1, 2, 3]
    assert len(client.get_run(runs["t"].run_id).inputs.model_inputs) == 1
    best = best_config(sweep_name, tracking_uri=server.uri)
    assert best.run_ids == (runs["t"].run_id,) and best.upstream[0].run_id == runs["s"].run_id
    folder = download_outputs(best.run_ids[0], store.root / "fetched", server.uri)
    assert (folder / "figures" / "curve.png").read_text() == "png"


def wait_for(is_so: Callable[[], bool], patience_s: float = 60.0) -> None:
    until_s = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.1)


def test_a_node_shows_its_epochs_again_once_the_server_is_back_before_its_end(
    server: Server, store: Store, sweep_name: str
) -> None:
    tracking = open_tracking(server.uri, store.root, sweep_name, {})
    node = make_node("long", method="fine_tune", train_size=5, split=0, seed=0)
    history = make_record(node, n_epochs=4).history
    run = NodeRun(tracking, node, flush_s=0)
    run.start()
    run.epoch(history[0])
    assert run.unsent_since_ms == 0
    server.stop()
    run.epoch(history[1])
    run.epoch(history[2])
    assert run.unsent_since_ms > 0 and run.problem
    server.start()
    time.sleep(PAUSE_S)
    run.epoch(history[3])
    assert run.online and run.unsent_since_ms == 0
    client = mlflow_client(server.uri)
    values = client.get_metric_history(run.run_id, "val_dice")
    assert [(point.step, point.timestamp) for point in values] == [(p.step, p.time_ms) for p in history]
    assert client.get_run(run.run_id).info.status == "RUNNING"


def test_a_driver_and_a_worker_that_began_without_the_server_join_it_while_they_run(
    server: Server, store: Store, sweep_name: str
) -> None:
    server.stop()
    tracking = open_tracking(server.uri, store.root, sweep_name, {})
    assert not tracking.online
    ended, running = (make_node(key, method="fine_tune", train_size=5, split=0, seed=0) for key in "er")
    record = make_record(ended, best_val_dice=0.6)
    worker = NodeRun(tracking, ended)
    worker.finish(record, publish(store, ended, record))
    assert worker.unsent_since_ms > 0
    unsent = Unsent()
    unsent.closed(ended, is_unsent=True)
    server.start()
    at_once = dataclasses.replace(tracking, opened_s=0.0)
    with CatchUp(at_once, store.place, unsent, every_s=0.2):
        wait_for(lambda: not unsent.ended)
    time.sleep(PAUSE_S)
    run = NodeRun(tracking, running, flush_s=0)  # the context of its worker still says that MLflow is away
    run.epoch(record.history[0])
    assert run.unsent_since_ms == 0 and run.online
    client = mlflow_client(server.uri)
    experiment = client.get_experiment_by_name(sweep_name)
    runs = client.search_runs([experiment.experiment_id], "tags.`dwp.key` != ''")
    assert {found.data.tags["dwp.key"]: found.info.status for found in runs} == {
        "e": "FINISHED",
        "r": "RUNNING",
    }
    assert unsent.text() == "" and unsent.problem == ""
