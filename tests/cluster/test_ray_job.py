"""A sweep as a job of a Ray cluster that `deploy/single_head.sh` started: from submission to its answers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import dwp_sweep

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(480)]


@dataclass(frozen=True)
class Cluster:
    """A running head and the storage that its jobs write to."""

    address: str
    storage: Path

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.storage / 'mlflow.db'}"

    def submit(self, *entrypoint: str) -> subprocess.CompletedProcess[str]:
        """``ray job submit`` from the root of the repository; waits for the job's end."""
        command = [str(BIN / "ray"), "job", "submit", "--address", self.address, "--working-dir", ".", "--"]
        return subprocess.run(
            [*command, *entrypoint],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=420,
            check=False,
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if shutil.which("bash") is None:
        pytest.skip("deploy/single_head.sh needs bash")
    folder = tmp_path_factory.mktemp("cluster")
    dashboard, gcs, agent = free_ports(3)
    environment = os.environ | {
        "DWP_SWEEP_BIN": str(BIN),
        "DWP_SWEEP_STORAGE": str(folder / "runs"),
        "DWP_SWEEP_DASHBOARD_PORT": str(dashboard),
        "DWP_SWEEP_RAY_PORT": str(gcs),
        "RAY_AUTH_MODE": "disabled",
    }
    command = [
        ROOT / "deploy" / "single_head.sh",
        "--num-cpus",
        "2",
        "--dashboard-agent-listen-port",
        str(agent),
    ]
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{dashboard}"
        wait_for(f"{address}/api/version", head, folder / "head.log")
        yield Cluster(address, folder / "runs")
    finally:
        # The head ends all that it started; `ray stop` would end every Ray of the machine.
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            head.kill()
            raise


def free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(url: str, head: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        assert head.poll() is None, f"the head ended:\n{log.read_text()}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)  # pytest's timeout ends a wait that never succeeds


def test_a_submitted_job_runs_the_sweep_and_its_answers_are_in_the_storage(cluster: Cluster) -> None:
    job = cluster.submit("dwp-sweep", "run", "search_spaces/demo.yaml", "--smoke")
    assert job.returncode == 0, job.stdout
    assert "Test Dice, mean (std)" in job.stdout
    assert "Best of 4 configurations in sweep demo-smoke" in job.stdout

    table = dwp_sweep.results("demo-smoke", cluster.tracking_uri)
    assert list(table["state"].unique()) == ["done"]
    assert table["stage"].value_counts().to_dict() == {"prior": 7, "target": 4, "source": 2, "harvest": 1}
    best = dwp_sweep.best_config("demo-smoke", tracking_uri=cluster.tracking_uri)
    assert best.config["train_size"] == 5
    assert best.run_ids[0] in set(table["run_id"])
    assert dwp_sweep.load_model(best.run_ids[0], cluster.tracking_uri).training is False


def test_a_job_with_bad_input_fails_with_its_message(cluster: Cluster) -> None:
    job = cluster.submit("dwp-sweep", "run", "search_spaces/demo.yaml", "--set", "target.lrr=1")
    assert job.returncode != 0
    assert "target.lrr" in job.stdout
    assert "Traceback" not in job.stdout
