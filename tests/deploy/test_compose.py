"""compose.yaml: valid; its services are pinned, healthy before they are used, hardened and not exposed."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from tests.deploy.documents import DEPLOY, OUR_IMAGE, PINS, SECRETS, load

COMPOSE = load(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = {name: service for name, service in SERVICES.items() if "restart" in service}


def schema() -> dict[str, Any]:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    found: dict[str, Any] = json.loads(vendored.read_text())
    return found


def problems(document: Any) -> list[str]:
    """Errors of the compose schema; ``${NAME:-default}`` stands for its default, as compose reads it."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", json.dumps(document))
    validator = jsonschema.validators.validator_for(schema())
    found = validator(schema()).iter_errors(json.loads(text))
    return [f"{'.'.join(map(str, one.absolute_path))}: {one.message[:200]}" for one in found]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml", "compose.tls.yaml"])
def test_the_file_fits_the_compose_specification(name: str) -> None:
    assert problems(load(DEPLOY / name)) == []


def test_the_check_would_find_a_misspelt_key() -> None:
    assert problems({"services": {"one": {"image": "one:1", "helthcheck": {}}}})


def test_every_image_is_pinned_and_ours_has_the_projects_version() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert {name for name, image in images.items() if image == OUR_IMAGE} == {
        "ray-head",
        "ray-worker",
        "mlflow",
    }
    assert [image for image in images.values() if not re.search(r":\d+\.\d+[\w.-]*$", image)] == []


def test_services_wait_for_what_they_need_and_tell_whether_they_are_well() -> None:
    assert set(SERVICES) - set(LASTING) == {"s3-volume"}
    for name, service in LASTING.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_healthy" if needed in LASTING else "service_completed_successfully"
            assert how == {"condition": expected}, (name, needed)
    assert set(SERVICES["mlflow"]["depends_on"]) == {"postgres", "s3"}
    assert set(SERVICES["ray-worker"]["depends_on"]) == {"ray-head"}


def test_only_two_ports_are_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"ray-head": ["127.0.0.1:8265:8265"], "mlflow": ["127.0.0.1:5000:5000"]}


def test_with_https_only_the_proxy_is_reached_from_outside() -> None:
    services = load(DEPLOY / "compose.tls.yaml")["services"]
    assert set(services) == {"https"} and services["https"]["ports"] == ["443:8443", "8266:8265"]
    assert services["https"]["networks"] == ["cluster"]
    assert {"tls_certificate", "tls_key"} == set(services["https"]["secrets"])
    assert (DEPLOY / "tls" / "default.conf.template").is_file()


@pytest.mark.parametrize("name", LASTING)
def test_logs_rotate(name: str) -> None:
    assert LASTING[name]["logging"]["driver"] == "local"
    assert {"max-size", "max-file"} <= LASTING[name]["logging"]["options"].keys()


def test_the_store_answers_nothing_but_s3_from_outside() -> None:
    words = SERVICES["s3"]["command"]
    assert "-ip.bind=127.0.0.1" in words and "-s3.ip.bind=0.0.0.0" in words


def test_mlflow_logs_into_the_database_as_a_role_that_is_no_superuser() -> None:
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] == "postgres"
    assert "//mlflow@" in SERVICES["mlflow"]["environment"]["MLFLOW_DATABASE"]
    assert any("/docker-entrypoint-initdb.d/" in volume for volume in SERVICES["postgres"]["volumes"])
    assert "NOSUPERUSER" in (DEPLOY / "postgres_role.sh").read_text()


def test_database_and_artifacts_are_reached_through_mlflow_alone() -> None:
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    on = {name: set(service.get("networks", [])) for name, service in SERVICES.items()}
    assert {name for name, networks in on.items() if "backend" in networks} == {"mlflow", "postgres", "s3"}
    assert on["postgres"] == on["s3"] == {"backend"}


def test_no_service_may_gain_rights_and_only_one_command_runs_as_root() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        assert {"mem_limit", "pids_limit"} <= service.keys(), name
    root = {name for name, service in SERVICES.items() if str(service.get("user", "1")).startswith("0")}
    assert root == {"s3-volume"}
    assert SERVICES["s3-volume"]["network_mode"] == "none"
    assert SERVICES["s3-volume"]["cap_add"] == ["CHOWN"]


def test_secrets_are_files_that_the_script_writes_and_no_value_stands_anywhere() -> None:
    assert {name: one["file"] for name, one in COMPOSE["secrets"].items()} == {
        name: f"secrets/{name}" for name in SECRETS
    }
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|SECRET|TOKEN|KEY", key)
            assert not secret or str(value).startswith("/run/secrets/"), (name, key)
        assert "://" not in str(service.get("command")), name
    used = [
        one if isinstance(one, str) else one["source"]
        for s in SERVICES.values()
        for one in s.get("secrets", [])
    ]
    assert set(used) == SECRETS


def test_ray_asks_for_the_token_everywhere_and_mlflow_answers_to_the_name_it_is_called_by() -> None:
    for name in ("ray-head", "ray-worker"):
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_auth_token"
        host = environment["MLFLOW_TRACKING_URI"].removeprefix("http://")
        assert host in SERVICES["mlflow"]["environment"]["MLFLOW_ALLOWED_HOSTS"].split(",")


def test_what_must_last_lies_in_declared_volumes() -> None:
    mounted = {
        volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])
    } - {"${DWP_SWEEP_DATA", "./postgres_role.sh"}
    assert mounted == {"store", "postgres", "s3"}
    assert set(COMPOSE["volumes"]) == mounted | {"data"}


def test_the_database_and_store_images_match_what_the_clients_were_tried_with() -> None:
    assert SERVICES["postgres"]["image"].startswith("postgres:17.")
    assert SERVICES["s3"]["image"] == SERVICES["s3-volume"]["image"]
    assert PINS["mlflow"] == PINS["mlflow-skinny"]  # server and clients run the same image
