"""Dashboards listen on the loopback, unless a network of containers or pods stands around them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.deploy.documents import DEPLOY

HEADS = [DEPLOY / name for name in ("ray-cluster.yaml", "ray-cluster-aws.yaml")]


@pytest.mark.parametrize("path", HEADS, ids=lambda path: path.name)
def test_a_head_on_a_machine_of_its_own_shows_its_dashboard_to_that_machine_alone(path: Path) -> None:
    hosts = re.findall(r"--dashboard-host[= ]\"?([^\s\"]+)", path.read_text())
    assert hosts and set(hosts) == {"127.0.0.1"}


def test_what_listens_everywhere_stands_behind_a_network_of_its_own() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".sh")]
    everywhere = {str(path.relative_to(DEPLOY)) for path in files if "0.0.0.0" in path.read_text()}
    # Compose publishes on the loopback, network policies stand before pods: their own tests.
    assert everywhere == {"compose.yaml", "mlflow_server.sh", "kuberay/ray-cluster.yaml", "kuberay/s3.yaml"}


def test_a_head_that_takes_jobs_from_elsewhere_is_told_to_ask_for_a_token() -> None:
    for path in HEADS:
        starts = re.findall(r"ray start --(?:head|address)", path.read_text())
        assert path.read_text().count("RAY_AUTH_MODE=token") >= len(starts) > 1


def single_head(
    tmp_path: Path, *options: str, **variables: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """The script of the quick start with a Ray that only writes down what it was given; its environment."""
    stub = tmp_path / "bin" / "ray"
    stub.parent.mkdir(exist_ok=True)
    stub.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/given\nenv >{tmp_path}/environment\n')
    stub.chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "DWP_SWEEP_BIN": str(stub.parent),
        "RAY_TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [DEPLOY / "single_head.sh", *options],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    seen = tmp_path / "environment"
    lines = seen.read_text().splitlines() if seen.exists() else []
    return done, dict(line.split("=", 1) for line in lines if "=" in line)


def test_the_quick_start_draws_a_token_for_its_user_once(tmp_path: Path) -> None:
    done, environment = single_head(tmp_path)
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    first = token.read_text()
    assert len(first) == 64 and first not in done.stdout + done.stderr
    assert environment["RAY_AUTH_MODE"] == "token" and environment["RAY_AUTH_TOKEN_PATH"] == str(token)
    single_head(tmp_path)
    assert token.read_text() == first


def test_the_quick_start_takes_the_token_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("0" * 64)
    _, environment = single_head(tmp_path, RAY_AUTH_TOKEN_PATH=str(tmp_path / "mine"))
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "0" * 64 and not (tmp_path / ".ray").exists()


def test_the_quick_start_stays_on_the_loopback_unless_it_is_given_an_address(tmp_path: Path) -> None:
    _, environment = single_head(tmp_path, "--num-cpus", "3")
    given = (tmp_path / "given").read_text()
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "--node-ip-address 127.0.0.1 --dashboard-host 127.0.0.1" in given and "--num-cpus 3" in given
    _, environment = single_head(tmp_path, DWP_SWEEP_HEAD_IP="192.0.2.7")
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in environment
    assert environment["RAY_AUTH_MODE"] == "token"


def test_only_an_option_turns_the_token_off_and_only_on_the_loopback(tmp_path: Path) -> None:
    done, environment = single_head(tmp_path, "--without-token")
    assert environment["RAY_AUTH_MODE"] == "disabled" and not (tmp_path / ".ray").exists()
    assert "--without-token" not in (tmp_path / "given").read_text()
    (tmp_path / "environment").unlink()
    done, environment = single_head(tmp_path, RAY_AUTH_MODE="disabled")
    assert done.returncode == 2 and "--without-token" in done.stderr and not environment
    done, environment = single_head(tmp_path, "--without-token", DWP_SWEEP_HEAD_IP="192.0.2.7")
    assert done.returncode == 2 and "192.0.2.7" in done.stderr and not environment
