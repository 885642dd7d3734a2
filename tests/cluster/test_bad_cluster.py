"""Clusters on which a run cannot work: each told in one message with exit code 2, none waited for in vain."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.benchmarks.servers import running
from tests.cluster.heads import free_ports
from tests.cluster.processes import BIN, PLAIN, ROOT, finished

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TOKEN, OTHER_TOKEN = "0123456789abcdef" * 2, "f" * 32


class Answer(NamedTuple):
    """How a sweep ended; the standard error is that of all sweeps of its process."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Head:
    """A running head of one CPU; its token lies in ``folder``."""

    address: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return PLAIN | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}

    def drive(self, **values: object) -> Answer:
        """A toy sweep of one node; see `toy_driver`."""
        (answer,) = self.drive_all(values)
        return answer

    def drive_all(self, *sweeps: dict[str, object]) -> list[Answer]:
        """Toy sweeps of one node each, one after the other in one process."""
        default = {"storage": str(self.folder / "runs"), "address": self.address}
        command = [sys.executable, "-m", "tests.cluster.toy_driver"]
        done = finished([*command, *(json.dumps(default | values) for values in sweeps)], self.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        *said, code = re.split(r"^exit code (\d+)\n", done.stdout, flags=re.MULTILINE)
        assert not code and len(said) == 2 * len(sweeps), done.stdout + done.stderr
        return [Answer(int(said[n + 1]), said[n], done.stderr) for n in range(0, len(said), 2)]


@contextmanager
def started(folder: Path, *options: str, **variables: str) -> Iterator[Head]:
    (folder / "token").write_text(TOKEN)
    (port,) = free_ports(1)
    head = Head(f"127.0.0.1:{port}", folder)
    command = [BIN / "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}"]
    rest = ["--num-cpus=1", "--include-dashboard=False", "--disable-usage-stats", *options]
    log = folder / "head.log"
    environment = head.environment | variables
    with running([*command, *rest], environment, log, lambda: "Ray runtime started" in log.read_text()):
        yield head


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with started(tmp_path_factory.mktemp("bad")) as head:
        yield head


def test_a_command_is_told_of_a_refused_token_within_seconds(head: Head, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(OTHER_TOKEN)
    words = ["run", str(ROOT / "search_spaces" / "demo.yaml"), "--smoke", "--address", head.address]
    refused = finished(
        [BIN / "dwp-sweep", *words, "--storage", str(tmp_path / "runs"), "--set", "method=random_init"],
        head.environment | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")},
    )
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert (
        f"Ray address {head.address}: the cluster refuses the token of RAY_AUTH_TOKEN_PATH=" in refused.stderr
    )
    assert "Traceback" not in refused.stderr
    assert OTHER_TOKEN not in refused.stdout + refused.stderr


def test_a_gpu_that_no_machine_has_is_not_waited_for(head: Head) -> None:
    done = head.drive(gpu=1.0)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "resources.target: asks for 1 CPUs and 1 GPUs; the largest machine has 1 and 0" in done.stdout


@pytest.fixture(scope="module")
def blind(head: Head) -> Iterator[Path]:
    """A worker that does not see what lies in the folder, though the driver does."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("hiding a folder from one process needs root and unshare")
    folder = head.folder / "hidden"
    (folder / "data").mkdir(parents=True)
    hide = 'mount -t tmpfs none "$0" && exec "$@"'
    command = [BIN / "ray", "start", "--block", f"--address={head.address}", "--node-ip-address=127.0.0.1"]
    log = head.folder / "worker.log"
    with running(
        ["unshare", "--mount", "sh", "-c", hide, folder, *command, "--num-cpus=2", "--disable-usage-stats"],
        head.environment,
        log,
        lambda: "Ray runtime started" in log.read_text(),
    ):
        yield folder


@pytest.fixture(scope="module")
def beside_the_blind(head: Head, blind: Path) -> dict[str, Answer]:
    """Sweeps with something that the worker does not see, and one that it sees whole."""
    shared = head.folder / "data"
    shared.mkdir()
    sweeps: dict[str, dict[str, object]] = {
        "storage": {"storage": str(blind / "runs")},
        "data": {"data": str(blind / "data")},
        "nothing": {"storage": str(head.folder / "good"), "data": str(shared)},
    }
    return dict(zip(sweeps, head.drive_all(*sweeps.values()), strict=True))


def test_a_storage_that_a_machine_does_not_see_is_named_with_the_machine(
    blind: Path, beside_the_blind: dict[str, Answer]
) -> None:
    done = beside_the_blind["storage"]
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"storage {blind / 'runs'}: {socket.gethostname()}" in done.stdout
    assert "does not see it: it is no folder that all machines share" in done.stdout
    assert not list((blind / "runs").glob(".probe-*"))


def test_a_machine_without_the_data_is_named_with_the_key(
    blind: Path, beside_the_blind: dict[str, Answer]
) -> None:
    done = beside_the_blind["data"]
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"data.target.root: {blind / 'data'}: is not there on {socket.gethostname()}" in done.stdout


def test_a_machine_that_sees_all_is_used(beside_the_blind: dict[str, Answer]) -> None:
    done = beside_the_blind["nothing"]
    # The toy's config has no such key: its node fails, in a worker.
    assert done.returncode == 1, done.stdout + done.stderr
    assert "unknown key 'dataset'" in done.stdout


def test_waiting_for_a_machine_that_never_comes_has_an_end(tmp_path: Path) -> None:
    config = {
        "cluster_name": "grows",
        "max_workers": 1,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "provider": {
            "type": "fake_multinode",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "none.there": {"resources": {"NONE": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
        },
    }
    (tmp_path / "growing.yaml").write_text(json.dumps(config))
    option = f"--autoscaling-config={tmp_path / 'growing.yaml'}"
    with started(tmp_path, option, RAY_FAKE_CLUSTER="1", AUTOSCALER_UPDATE_INTERVAL_S="1") as head:
        done = head.drive(gpu=1.0, wait_s=3.0)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "waits until the cluster grows" in done.stdout + done.stderr
    assert "asks for 1 CPUs and 1 GPUs" in done.stdout
    assert "none came within 3 s" in done.stdout


def test_another_python_on_the_cluster_is_told(head: Head) -> None:
    # Last: the head goes on to claim it.
    done = head.drive(python="3.9.1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "on Python 3.9.1, this is Ray" in done.stdout
    assert f"on Python {platform.python_version()}" in done.stdout
