"""The command ``run`` gets a signal at some moment of its life: it ends with 130, and nothing stays open."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dwp_sweep.harness.dag.node_state import StoredNode
from dwp_sweep.store.heartbeat import live_runs
from dwp_sweep.store.lease import holder_of
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.tracking.client import mlflow_client
from tests.harness.toy_stages import log_lines, slow_sweep

COMMAND = """
import functools, sys, time
from dwp_sweep.cli import main, sweeps

def with_toys(text, remark=sweeps.remark):
    remark(text)  # the command's own imports come after its first remark, and so do these
    from dwp_sweep.api import running
    from dwp_sweep.harness import run as harness_run
    from dwp_sweep.report.page import write
    from tests.harness.toy_stages import STAGES, slow_sweep, toy_node, toy_sweep

    harness_run.run_sweep = functools.partial(harness_run.run_sweep, stages=STAGES)
    sweep = slow_sweep(sys.argv[1]) if sys.argv[1] else toy_sweep(toy_node("target", "quick"))
    running.read_sweep = lambda *arguments: sweep
    write.write_report = lambda *arguments: time.sleep(60)

sweeps.remark = with_toys
main(sys.argv[2:])
"""


class Command:
    """``dwp-sweep run`` over toy nodes, in a process group of its own, as a terminal starts it.

    Args:
        folder: For its files.
        log: Of the slow nodes; None: one quick node, and a report that takes a minute.
        database: Copied to where the command would make MLflow's, which takes seconds.
        options: Of the command.
    """

    def __init__(self, folder: Path, log: Path | None, database: Path, *options: str) -> None:
        self.root, self._output = folder / "storage", folder / "output.txt"
        self.root.mkdir()
        shutil.copyfile(database, self.root / "mlflow.db")
        (folder / "space.yaml").write_text("name: toy\n")
        words = [str(log or ""), "run", str(folder / "space.yaml"), "--storage", str(self.root), *options]
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *words], stdout=output, stderr=output, start_new_session=True
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_until(self, log: Path, what: str) -> None:
        """Until it has printed some words, or a node has done something."""
        while what not in self.output and what not in {done for _, done, _ in log_lines(log)}:
            assert self._process.poll() is None, self.output
            time.sleep(0.02)

    def send(self, number: int, to_group: bool) -> int:
        """Send a signal; returns the exit code."""
        (os.killpg if to_group else os.kill)(self._process.pid, number)
        return self._process.wait(240)


def assert_nothing_stays_open(command: Command, log: Path, n_lost: int = 0) -> None:
    """No run, lease or mark; every epoch is kept at its node's checkpoint; no stack on the screen.

    Args:
        command: That has ended.
        log: Of its nodes.
        n_lost: Epochs of each node that may be lost, where its process was ended in the middle of one.
    """
    store = LocalStore(command.root)
    assert live_runs(store) == [] and not list(command.root.glob("sweeps/*/stop-*"))
    for node in slow_sweep(log).nodes.values():
        assert holder_of(store, node.stage, node.key) is None
        epochs = [what for name, what, _ in log_lines(log) if name == node.config["name"] and "epoch" in what]
        assert len(epochs) - n_lost <= len(StoredNode(node, store).history) <= len(epochs) < 40
    assert "Traceback" not in command.output and "***" not in command.output, command.output
    client = mlflow_client(f"sqlite:///{command.root}/mlflow.db")
    runs = client.search_runs([found.experiment_id for found in client.search_experiments()])
    assert "RUNNING" not in {run.info.status for run in runs}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, "reading"),
        (signal.SIGHUP, "opening MLflow"),
        (signal.SIGTERM, "epoch 3"),
        (signal.SIGHUP, "writing the report"),
    ],
)
def test_in_one_process_a_stop_at_any_moment_is_orderly(
    tmp_path: Path, database: Path, number: int, moment: str
) -> None:
    log = tmp_path / "log.txt"
    command = Command(tmp_path, None if moment == "writing the report" else log, database, "--here")
    command.wait_until(log, moment)
    assert command.send(number, to_group=False) == 130, command.output
    assert "the same command goes on from here" in command.output
    assert_nothing_stays_open(command, log)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "moment", "to_group"),
    [
        (signal.SIGTERM, "to build", False),  # while Ray starts
        (signal.SIGTERM, "epoch 3", False),
        (signal.SIGTERM, "epoch 3", True),  # a batch system ends Ray's processes, too
        (signal.SIGHUP, "epoch 3", True),  # a lost connection: Ray's processes get it, too
    ],
)
def test_on_ray_a_stop_at_any_moment_is_orderly(
    tmp_path: Path, database: Path, number: int, moment: str, to_group: bool
) -> None:
    log = tmp_path / "log.txt"
    command = Command(tmp_path, log, database)
    command.wait_until(log, moment)
    assert command.send(number, to_group) == 130, command.output
    assert "stopped; the same command goes on from here" in command.output
    assert_nothing_stays_open(command, log, n_lost=int(to_group and number == signal.SIGTERM))
