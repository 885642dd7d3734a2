"""The same over REST, as a remote user has it, with a server that dies and comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dwp_sweep.store.store import Store
from dwp_sweep.tracking.answers import best_config
from dwp_sweep.tracking.client import mlflow_client, open_tracking
from dwp_sweep.tracking.load import download_outputs
from dwp_sweep.tracking.node_run import NodeRun
from dwp_sweep.tracking.sync import SyncReport, sync_records
from tests.tracking.conftest import make_node, make_record, publish

pytestmark = pytest.mark.slow


class Server:
    """An MLflow server of one worker on the loopback, over the session's database."""

    def __init__(self, folder: Path, database: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder, self.database = folder, database
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        options += [
            "--backend-store-uri",
            self.database,
            "--artifacts-destination",
            str(self.folder / "served"),
        ]
        with (self.folder / "server.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2)
                return
            except OSError:
                time.sleep(0.3)
        pytest.fail((self.folder / "server.log").read_text()[-2_000:])

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


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
