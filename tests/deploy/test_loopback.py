"""Dashboards listen on the loopback, unless a network of containers or pods stands around them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.documents import DEPLOY

HEADS = [DEPLOY / name for name in ("ray-cluster.yaml", "ray-cluster-aws.yaml", "single_head.sh")]


@pytest.mark.parametrize("path", HEADS, ids=lambda path: path.name)
def test_a_head_on_a_machine_of_its_own_shows_its_dashboard_to_that_machine_alone(path: Path) -> None:
    hosts = re.findall(r"--dashboard-host[= ]\"?([^\s\"]+)", path.read_text())
    assert hosts and all(host in ("127.0.0.1", "${DWP_SWEEP_HEAD_IP:-127.0.0.1}") for host in hosts)


def test_what_listens_everywhere_stands_behind_a_network_of_its_own() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".sh")]
    everywhere = {str(path.relative_to(DEPLOY)) for path in files if "0.0.0.0" in path.read_text()}
    # Compose publishes on the loopback, network policies stand before pods: their own tests.
    assert everywhere == {"compose.yaml", "mlflow_server.sh", "kuberay/ray-cluster.yaml", "kuberay/s3.yaml"}


def test_a_head_that_takes_jobs_from_elsewhere_is_told_to_ask_for_a_token() -> None:
    for path in HEADS[:2]:
        starts = re.findall(r"ray start --(?:head|address)", path.read_text())
        assert path.read_text().count("RAY_AUTH_MODE=token") >= len(starts) > 1
