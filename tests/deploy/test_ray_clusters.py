"""The files of `ray up`, checked as Ray itself checks them before it starts a machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.deploy.documents import DEPLOY, ROOT, load

FILES = ["ray-cluster.yaml", "ray-cluster-aws.yaml"]


def checked(document: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(document)
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file(name: str) -> None:
    prepared = checked(load(DEPLOY / name))
    assert prepared["cluster_name"] == "dwp-sweep"
    assert all(
        kind["max_workers"] >= kind["min_workers"] for kind in prepared["available_node_types"].values()
    )


def test_rays_check_would_find_a_misspelt_key() -> None:
    document = load(DEPLOY / FILES[1])
    document["available_node_types"]["head"]["resource"] = {}
    with pytest.raises(jsonschema.ValidationError):
        checked(document)


@pytest.mark.parametrize("name", FILES)
def test_every_machine_gets_the_project_and_the_same_token(name: str) -> None:
    mounts = load(DEPLOY / name)["file_mounts"]
    assert mounts["~/.ray/auth_token"] == "deploy/secrets/ray_auth_token"
    own = {there: here for there, here in mounts.items() if "secrets" not in here}
    assert {there.removeprefix("~/dwp_sweep/") for there in own} == set(own.values())
    assert all((ROOT / here).exists() for here in own.values())
    assert not any(Path(here).name in (".", ".git", ".venv", "dwp_runs") for here in own.values())


@pytest.mark.parametrize("name", FILES)
def test_head_and_workers_start_with_the_token_and_a_storage_and_mlflow(name: str) -> None:
    document = load(DEPLOY / name)
    for role in ("head", "worker"):
        stop, start = document[f"{role}_start_ray_commands"]
        assert stop.endswith("ray stop")
        assert "RAY_AUTH_MODE=token" in start
        assert "DWP_SWEEP_STORAGE=" in start and "MLFLOW_TRACKING_URI=" in start
    head = document["head_start_ray_commands"][1]
    assert "--dashboard-host=127.0.0.1" in head and "--autoscaling-config=" in head


def test_the_workers_of_the_cloud_are_preemptible_and_come_only_when_asked_for() -> None:
    document = load(DEPLOY / FILES[1])
    kinds = document["available_node_types"]
    assert kinds.pop(document["head_node_type"])["resources"] == {"CPU": 0}
    for name, kind in kinds.items():
        assert kind["min_workers"] == 0 < kind["max_workers"], name
        assert kind["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot", name
    assert sum(kind["max_workers"] for kind in kinds.values()) <= document["max_workers"]
    assert any(kind["resources"].get("GPU") for kind in kinds.values())
