"""The deployment files as data, and the versions that they must name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERAY = DEPLOY / "kuberay"

PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OUR_IMAGE = f"dwp-sweep:{PROJECT['version']}"
SECRETS = {
    "ray_auth_token",
    "postgres_password",
    "mlflow_admin_password",
    "mlflow_sweeps_password",
    "mlflow_flask_secret_key",
    "mlflow_credentials",
    "s3_credentials",
    "s3.json",
}
"""What deploy/make_secrets.sh writes."""


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def objects() -> list[dict[str, Any]]:
    """Every Kubernetes object of deploy/kuberay."""
    files = sorted(set(KUBERAY.glob("*.yaml")) - {KUBERAY / "kustomization.yaml"})
    return [one for path in files for one in yaml.safe_load_all(path.read_text())]


def extras() -> list[dict[str, Any]]:
    """Objects that are applied by hand, where they are needed."""
    return [
        one
        for path in sorted((KUBERAY / "extras").glob("*.yaml"))
        for one in yaml.safe_load_all(path.read_text())
    ]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in objects() if one["kind"] == kind]


def pod_specs() -> dict[str, dict[str, Any]]:
    """The specification of every pod that comes of the objects, by name."""
    found: dict[str, dict[str, Any]] = {}
    for one in objects():
        if one["kind"] in ("Deployment", "StatefulSet"):
            found[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
        if one["kind"] == "RayCluster":
            found["ray head"] = one["spec"]["headGroupSpec"]["template"]["spec"]
            for group in one["spec"]["workerGroupSpecs"]:
                found[f"ray {group['groupName']}"] = group["template"]["spec"]
        if one["kind"] == "RayJob":
            found["submitter"] = one["spec"]["submitterPodTemplate"]["spec"]
    return found


def pod_labels() -> dict[str, dict[str, str]]:
    """Labels of the same pods; the operator adds those that start with ray.io."""
    found: dict[str, dict[str, str]] = {}
    for one in objects():
        if one["kind"] in ("Deployment", "StatefulSet"):
            found[one["metadata"]["name"]] = one["spec"]["template"]["metadata"]["labels"]
        if one["kind"] == "RayCluster":
            head = one["spec"]["headGroupSpec"]["template"]["metadata"]["labels"]
            found["ray head"] = {**head, "ray.io/node-type": "head"}
            for group in one["spec"]["workerGroupSpecs"]:
                found[f"ray {group['groupName']}"] = {
                    **group["template"]["metadata"]["labels"],
                    "ray.io/node-type": "worker",
                }
        if one["kind"] == "RayJob":
            found["submitter"] = one["spec"]["submitterPodTemplate"]["metadata"]["labels"]
    return found
