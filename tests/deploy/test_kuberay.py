"""The Kubernetes objects: valid by their schemas, restricted, with tokens and without a secret's value."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.documents import (
    KUBERAY,
    OUR_IMAGE,
    PINS,
    PROJECT,
    SECRETS,
    extras,
    load,
    objects,
    of_kind,
    pod_labels,
    pod_specs,
)

SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = "1.34"
CUSTOM = {"RayCluster": "rayclusters", "RayJob": "rayjobs"}


def title(one: dict[str, Any]) -> str:
    return f"{one['kind']} {one['metadata'].get('name', one['metadata'].get('generateName'))}"


def closed(schema: Any) -> Any:
    """The schema without room for unknown keys, which Kubernetes would drop silently."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    is_object = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_object and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


def custom_problems(one: dict[str, Any]) -> list[str]:
    packed = SCHEMAS / f"ray.io_{CUSTOM[one['kind']]}.v1.schema.json.gz"
    schema = closed(json.loads(gzip.decompress(packed.read_bytes())))
    found = jsonschema.Draft202012Validator(schema).iter_errors(one)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]


@pytest.mark.parametrize("one", [one for one in objects() if one["kind"] not in CUSTOM], ids=title)
def test_kubernetes_own_kinds_fit_their_schemas(one: dict[str, Any]) -> None:
    kubernetes_validate.validate(one, KUBERNETES, strict=True)


@pytest.mark.parametrize("one", [one for one in objects() if one["kind"] in CUSTOM], ids=title)
def test_rays_kinds_fit_their_schemas(one: dict[str, Any]) -> None:
    assert one["apiVersion"] == "ray.io/v1"
    assert custom_problems(one) == []


@pytest.mark.parametrize("one", extras(), ids=title)
def test_what_is_applied_by_hand_fits_its_schema_and_stands_in_the_namespace(one: dict[str, Any]) -> None:
    kubernetes_validate.validate(one, KUBERNETES, strict=True)
    assert one["metadata"]["namespace"] == "dwp-sweep"


def test_the_loader_alone_writes_the_scans() -> None:
    (loader,) = [one["spec"] for one in extras() if one["kind"] == "Pod"]
    restricted(loader)
    assert loader["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    of_ray = [spec for name, spec in pod_specs().items() if name.startswith("ray ")]
    mounts = [mount for spec in of_ray for mount in spec["containers"][0]["volumeMounts"]]
    assert {mount.get("readOnly") for mount in mounts if mount["name"] == "data"} == {True}


def test_policies_applied_by_hand_open_the_lines_that_their_files_name() -> None:
    opened = {
        (peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"], to)
        for one in extras()
        if one["kind"] == "NetworkPolicy"
        for rule in one["spec"].get("ingress", [])
        for peer in rule["from"]
        for to in [one["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]]
    }
    assert opened == {("ray", "s3"), ("ray", "postgres"), ("ingress-nginx", "mlflow")}


def test_the_role_of_the_database_is_made_by_the_same_script_as_in_compose() -> None:
    (script,) = [one["data"]["postgres_role.sh"] for one in of_kind("ConfigMap")]
    assert script == (KUBERAY.parent / "postgres_role.sh").read_text()


@pytest.mark.parametrize("one", of_kind("PodDisruptionBudget"), ids=title)
def test_a_disruption_budget_concerns_a_pod(one: dict[str, Any]) -> None:
    assert any(matches(one["spec"]["selector"], labels) for labels in pod_labels().values())


def test_people_who_run_sweeps_read_no_secret_and_change_no_deployment() -> None:
    (role,) = of_kind("Role")
    resources = {name for rule in role["rules"] for name in rule["resources"]}
    assert {"rayjobs", "pods/log", "pods/portforward"} <= resources
    assert not {"secrets", "*", "pods/exec", "deployments"} & resources


def test_names_are_found_where_clusters_answer_dns() -> None:
    default = next(one["spec"] for one in of_kind("NetworkPolicy") if one["spec"]["podSelector"] == {})
    peers = json.dumps(default["egress"])
    assert all(name in peers for name in ("kube-system", "openshift-dns", "169.254.20.10/32"))


def test_the_checks_would_find_misspelt_keys() -> None:
    (cluster,) = of_kind("RayCluster")
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    assert custom_problems(cluster)
    deployment = of_kind("Deployment")[0]
    deployment["spec"]["template"]["spec"]["restartPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)


def test_kustomize_lists_every_file_but_the_sweep() -> None:
    kustomization = load(KUBERAY / "kustomization.yaml")
    there = {path.name for path in KUBERAY.glob("*.yaml")} - {"kustomization.yaml", "sweep.yaml"}
    assert set(kustomization["resources"]) == there
    assert kustomization["images"] == [
        {"name": "dwp-sweep", "newName": "dwp-sweep", "newTag": PROJECT["version"]}
    ]
    assert {one["metadata"].get("namespace", one["metadata"].get("name")) for one in objects()} == {
        "dwp-sweep"
    }


def test_versions_are_those_of_the_constraints_file_and_of_the_project() -> None:
    (cluster,) = of_kind("RayCluster")
    assert cluster["spec"]["rayVersion"] == PINS["ray"]
    images = {container["image"] for spec in pod_specs().values() for container in spec["containers"]}
    assert OUR_IMAGE in images
    assert [image for image in images if not re.search(r":\d+\.\d+[\w.-]*$", image)] == []


def test_images_are_the_same_as_those_of_compose() -> None:
    services = load(KUBERAY.parent / "compose.yaml")["services"]
    ours = {name: spec["containers"][0]["image"] for name, spec in pod_specs().items() if name in services}
    assert ours == {name: services[name]["image"] for name in ("mlflow", "postgres", "s3")}


@pytest.mark.parametrize("name", pod_specs())
def test_a_pod_keeps_to_the_restricted_standard(name: str) -> None:
    restricted(pod_specs()[name])


def restricted(spec: dict[str, Any]) -> None:
    """Kubernetes' own standard, and what this project asks for beyond it."""
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    for container in spec["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
    assert all(
        set(volume) & {"persistentVolumeClaim", "secret", "emptyDir", "configMap"}
        for volume in spec.get("volumes", [])
    )


@pytest.mark.parametrize("name", sorted(set(pod_specs()) - {"submitter"}))
def test_a_lasting_pod_has_probes(name: str) -> None:
    for container in pod_specs()[name]["containers"]:
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_only_the_head_whose_autoscaler_needs_it_has_a_service_accounts_token() -> None:
    with_token = {
        name for name, spec in pod_specs().items() if spec.get("automountServiceAccountToken", True)
    }
    assert with_token == {"ray head"}


def test_ray_scales_from_nothing_on_gpus_and_asks_for_a_token() -> None:
    (cluster,) = of_kind("RayCluster")
    spec = cluster["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["authOptions"] == {"mode": "token", "secretName": "ray-auth"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert all(group["minReplicas"] == 0 < group["maxReplicas"] for group in groups.values())
    gpu = groups["gpu"]["template"]["spec"]
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= {one["key"] for one in gpu["tolerations"]}


def test_the_job_runs_on_the_cluster_of_the_other_file() -> None:
    (job,), (cluster,) = of_kind("RayJob"), of_kind("RayCluster")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert job["spec"]["entrypoint"].startswith("dwp-sweep run search_spaces/")
    assert (KUBERAY.parents[1] / job["spec"]["entrypoint"].split()[-1].removeprefix("/app/")).is_file()


def test_no_secret_is_among_the_objects_and_each_that_is_used_is_made_in_the_readme() -> None:
    assert of_kind("Secret") == []
    used = {
        volume["secret"]["secretName"]
        for spec in pod_specs().values()
        for volume in spec.get("volumes", [])
        if "secret" in volume
    } | {"ray-auth"}
    readme = (KUBERAY.parent / "README.md").read_text()
    made = dict(re.findall(r"create secret generic (\S+)((?: \\\n| |--from-file=\S+)+)", readme))
    assert set(made) == used
    files = {name for text in made.values() for name in re.findall(r"deploy/secrets/([\w.]+)", text)}
    assert files == SECRETS
    for name, spec in pod_specs().items():
        for container in spec["containers"]:
            for variable in container.get("env", []):
                is_secret = re.search("PASSWORD|SECRET|TOKEN|KEY", variable["name"])
                assert not is_secret or variable["value"].startswith("/run/"), (name, variable)


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def test_pods_reach_each_other_only_along_the_lines_of_the_picture() -> None:
    policies, labels = of_kind("NetworkPolicy"), pod_labels()
    default = next(one["spec"] for one in policies if one["spec"]["podSelector"] == {})
    assert default["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in default
    open_to = set()
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            for peer in rule["from"]:
                assert "podSelector" in peer, "no door for whole namespaces"
                for name, own in labels.items():
                    if matches(policy["spec"]["podSelector"], own):
                        open_to |= {
                            (other.split()[0], name.split()[0])
                            for other, theirs in labels.items()
                            if matches(peer["podSelector"], theirs)
                        }
    assert open_to == {
        ("ray", "ray"),
        ("submitter", "ray"),
        ("ray", "mlflow"),
        ("mlflow", "postgres"),
        ("mlflow", "s3"),
    }


def test_mlflow_answers_to_the_name_that_ray_calls() -> None:
    ray = {one["name"]: one["value"] for one in pod_specs()["ray head"]["containers"][0]["env"]}
    mlflow = {one["name"]: one["value"] for one in pod_specs()["mlflow"]["containers"][0]["env"]}
    host = ray["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert host in mlflow["MLFLOW_ALLOWED_HOSTS"].split(",")
    assert host.split(":")[0] in {one["metadata"]["name"] for one in of_kind("Service")}


def test_every_claim_and_service_that_is_named_is_there() -> None:
    claims = {one["metadata"]["name"] for one in of_kind("PersistentVolumeClaim")}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for spec in pod_specs().values()
        for volume in spec.get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    assert used == claims == {"store", "data"}
    assert all(one["spec"]["accessModes"] == ["ReadWriteMany"] for one in of_kind("PersistentVolumeClaim"))
    for service in of_kind("Service"):
        chosen = service["spec"]["selector"].items()
        assert [name for name, labels in pod_labels().items() if chosen <= labels.items()], title(service)
