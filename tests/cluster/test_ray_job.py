"""A sweep as a job of a Ray cluster that `deploy/single_head.sh` started: from submission to its answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import dwp_sweep
from tests.cluster.heads import BIN, ROOT, started_head

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
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    with started_head(folder, environment, "/api/version") as address:
        yield Cluster(address, folder / "runs")


def test_a_submitted_job_runs_the_sweep_and_its_answers_are_in_the_storage(cluster: Cluster) -> None:
    job = cluster.submit("dwp-sweep", "run", "search_spaces/demo.yaml", "--smoke")
    assert job.returncode == 0, job.stdout
    assert "Test Dice, mean (std)" in job.stdout
    assert "Best of 4 configurations in sweep demo-smoke" in job.stdout
    assert len([line for line in job.stdout.splitlines() if " done     " in line]) == 14

    table = dwp_sweep.results("demo-smoke", cluster.tracking_uri)
    assert list(table["state"].unique()) == ["done"]
    assert table["stage"].value_counts().to_dict() == {"prior": 7, "target": 4, "source": 2, "harvest": 1}
    best = dwp_sweep.best_config("demo-smoke", tracking_uri=cluster.tracking_uri)
    assert best.config["train_size"] == 5
    assert best.run_ids[0] in set(table["run_id"])
    assert dwp_sweep.load_model(best.run_ids[0], cluster.tracking_uri).training is False
