"""Sweeps whose storage is S3, for real: two drivers at once, a machine that is lost, one that has nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.protocol import Store
from tests.harness.toy_stages import STAGES, demo_sweep, log_lines, runs_of, slow_sweep
from tests.store.s3_server import SECRET, S3Server

pytestmark = pytest.mark.slow  # a server and several Rays are started
On = Callable[[str], Store]

SCRIPT = """
import sys
from dwp_sweep.harness.cluster.ray_session import ray_session
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.open_store import open_store
from tests.harness import toy_stages as toy
sweep = toy.demo_sweep(sys.argv[3], 4) if sys.argv[2] == "demo" else toy.slow_sweep(sys.argv[3])
with ray_session(n_cpus=2):
    outcome = run_sweep(sweep, open_store(sys.argv[1]), stages=toy.STAGES)
sys.exit(outcome.exit_code)
"""


@pytest.fixture
def start(url: str, on: On) -> Iterator[Callable[[str, str, Path], subprocess.Popen[str]]]:
    """Starts a driver with a Ray of its own on a machine of some name; ends all of them."""
    started: list[subprocess.Popen[str]] = []

    def driver(machine: str, sweep: str, log: Path) -> subprocess.Popen[str]:
        on(machine)  # sets this process's environment, which the driver inherits
        command = [sys.executable, "-c", SCRIPT, url, sweep, str(log)]
        process = subprocess.Popen(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        started.append(process)
        return process

    yield driver
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_two_drivers_build_one_sweep_and_a_machine_with_nothing_finds_it_done(
    start: Callable[[str, str, Path], subprocess.Popen[str]],
    on: On,
    url: str,
    seaweed: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logs = [tmp_path / "log1.txt", tmp_path / "log2.txt"]
    drivers = [start(f"machine{number}", "demo", log) for number, log in enumerate(logs)]
    outputs = [driver.communicate(timeout=250)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], "\n".join(outputs)
    sweep = demo_sweep("unkeyed", 4)
    names = {str(node.config["name"]) for node in sweep.nodes.values()}
    assert sorted(name for log in logs for name in runs_of(log)) == sorted(names), "a node was built twice"
    published = [name for name in seaweed.names(url) if name.endswith("/manifest.json")]
    attempts = {tuple(name.split("/")[1:4]) for name in seaweed.names(url) if name.startswith("files/")}
    assert len(published) == len(attempts) == len(sweep.nodes), "of a node built twice one attempt is left"
    assert not [name for name in seaweed.names(url) if name.startswith("work/") or "run-" in name]

    monkeypatch.setattr(
        "dwp_sweep.harness.tune.executor.ray_session", lambda address: pytest.fail("Ray was asked for")
    )
    fresh = on("machine with nothing")
    assert run_sweep(sweep, fresh, stages=STAGES).counts["cached"] == len(sweep.nodes)
    for node in sweep.nodes.values():
        assert (fresh.fetch(node.stage, node.key) / "out.json").is_file()
    assert SECRET not in "".join(outputs)
    for path in [*fresh.root.rglob("*.json"), *(tmp_path / "machine0").rglob("*")]:
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


def test_when_a_machine_is_lost_another_goes_on_from_the_last_checkpoint(
    start: Callable[[str, str, Path], subprocess.Popen[str]],
    on: On,
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "log1.txt", tmp_path / "log2.txt"
    lost = start("machine0", "slow", first)
    while not runs_of(first, "epoch 20"):
        assert lost.poll() is None, lost.communicate()[0]
        time.sleep(0.1)
    os.killpg(lost.pid, signal.SIGKILL)  # its Ray goes with it
    lost.communicate()
    other = start("machine1", "slow", second)
    output = other.communicate(timeout=250)[0]
    assert other.returncode == 0, output
    began_at = {
        name: min(
            int(what.split()[1]) for who, what, _ in log_lines(second) if who == name and "epoch" in what
        )
        for name in runs_of(second)
    }
    assert len(began_at) == 4
    went_on = {name for name, epoch in began_at.items() if epoch > 1}
    assert runs_of(first, "epoch 20")[0] in went_on <= set(runs_of(first))
    store = on("machine2")
    for node in slow_sweep("unkeyed").nodes.values():
        record = store.record(node.stage, node.key)
        assert record is not None and [point.step for point in record.history] == list(range(1, 41))
