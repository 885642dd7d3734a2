"""Folders of a user that a local Ray needs: a short one for its sockets, and a home that may be read-only."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import dwp_sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.cluster import ray_session
from dwp_sweep.harness.cluster.ray_session import require_short_sockets


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_too_long_for_sockets_is_refused_before_anything_starts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TMPDIR", "RAY_TMPDIR", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, f"/tmp/{'ä' * 18}")
    with pytest.raises(InputError, match=rf"{name}: .* has 41 bytes, .*RAY_TMPDIR=/tmp.*--here"):
        dwp_sweep.run_sweep({"name": "x"}, storage=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    require_short_sockets("ray://host:10001")
    monkeypatch.setenv(name, "/tmp")
    require_short_sockets()


def test_the_longest_folder_that_is_let_holds_the_sockets_of_a_session(tmp_path: Path) -> None:
    folder = "x" * (ray_session._SOCKET_BYTES - len(ray_session._SOCKET) - len("/tmp/"))
    path = Path(f"/tmp/{folder}{ray_session._SOCKET}")
    path.parent.mkdir(parents=True)
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(path))
    finally:
        shutil.rmtree(Path("/tmp") / folder)
    with pytest.raises(OSError, match="too long"), socket.socket(socket.AF_UNIX) as refused:
        refused.bind(f"{path}x")


@pytest.mark.slow
def test_a_local_ray_runs_where_the_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from dwp_sweep.harness.run import run_sweep; from dwp_sweep.store.local.store import LocalStore\n"
        "from tests.harness.toy_stages import STAGES, demo_sweep\n"
        "from tests.harness.test_run import Witness\n"
        "store = LocalStore(Path(sys.argv[1]))\n"
        "run = run_sweep(demo_sweep(n_targets=1), store, progress=Witness(), stages=STAGES)\n"
        "print(run.exit_code)"
    )
    for variable in (
        "XDG_CACHE_HOME",
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
        "RAY_ADDRESS",
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/dev/null/home")
    command = [sys.executable, "-c", code, str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip().endswith("0"), done.stderr[-2000:]
