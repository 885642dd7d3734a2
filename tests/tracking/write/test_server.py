"""The same over REST, as a remote user has it, with a server that dies and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.client import mlflow_client
from dwp_sweep.tracking.read.best import best_config
from dwp_sweep.tracking.read.files import download_outputs
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.parent import open_tracking
from dwp_sweep.tracking.write.sync import SyncReport, sync_records
from tests.tracking.conftest import make_node, make_record, publish
from tests.tracking.mlflow_server import Server

pytestmark = pytest.mark.slow


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
