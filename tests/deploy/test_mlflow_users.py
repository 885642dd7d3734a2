"""The server of the deployments, on PostgreSQL and S3: jobs log as a user who is no administrator."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.postgres import started_postgres, why_no_postgres
from tests.benchmarks.servers import running
from tests.cluster.heads import free_ports
from tests.cluster.processes import BIN, PLAIN, finished
from tests.deploy.documents import DEPLOY
from tests.store.s3_server import KEY, SECRET, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Deployment:
    """What a server stands on, and the folder of its secrets."""

    folder: Path
    environment: dict[str, str]
    uri: str

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The server, until the end of the context."""
        command = [DEPLOY / "mlflow_server.sh"]
        with running(command, self.environment, self.folder / "mlflow.log", self._is_ready):
            yield

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return True
        except OSError:
            return False

    def ask(self, path: str, user: str, password: str, /, **body: object) -> tuple[int, dict[str, Any]]:
        """Status and answer of a request; one with a body is a POST."""
        key = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Basic {key}"} if user else {})
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.uri}/api/2.0/mlflow/{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status), json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, {}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    if reason := why_no_postgres():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("users")
    secrets = folder / "secrets"
    subprocess.run([DEPLOY / "make_secrets.sh", secrets], capture_output=True, check=True)
    (secrets / "s3_credentials").unlink()
    keys = f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (secrets / "s3_credentials").write_text(keys)
    port, database_port = free_ports(2)
    with ExitStack() as stack:
        started = stack.enter_context(started_postgres("127.0.0.1", database_port))
        server = stack.enter_context(serving(folder, "moto"))
        environment = PLAIN | {
            "HOME": str(folder),
            "SECRETS": str(secrets),
            "MLFLOW_DATABASE": started.replace("+psycopg", ""),
            "MLFLOW_BUCKET": "mlflow",
            "MLFLOW_S3_ENDPOINT_URL": server.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_ALLOWED_HOSTS": f"127.0.0.1:{port}",
            "MLFLOW_HOST": "127.0.0.1",
            "MLFLOW_PORT": str(port),
            "MLFLOW_WORKERS": "1",
        }
        yield Deployment(folder, environment, f"http://127.0.0.1:{port}")


def test_jobs_log_as_a_user_who_is_no_administrator(deployment: Deployment, tmp_path: Path) -> None:
    admin = ("admin", deployment.secret("mlflow_admin_password"))
    sweeps = ("sweeps", deployment.secret("mlflow_sweeps_password"))
    with deployment.serving():
        assert deployment.ask("users/get?username=sweeps", "", "")[0] == 401
        status, answer = deployment.ask("users/get?username=sweeps", *admin)
        assert status == 200 and answer["user"]["is_admin"] is False

        status, answer = deployment.ask("experiments/create", *admin, name="of the administrator")
        assert status == 200
        of_admin = answer["experiment_id"]
        assert deployment.ask(f"experiments/get?experiment_id={of_admin}", *sweeps)[0] == 200
        assert deployment.ask("experiments/delete", *sweeps, experiment_id=of_admin)[0] == 403
        assert deployment.ask("users/create", *sweeps, username="other", password="x" * 20)[0] == 403
        assert deployment.ask("users/update-admin", *sweeps, username="sweeps", is_admin=True)[0] in (
            403,
            405,
        )

        source, target = (
            deployment.folder / "secrets" / "mlflow_credentials",
            tmp_path / ".mlflow" / "credentials",
        )
        subprocess.run(["install", "-D", "-m", "600", source, target], check=True)
        words = ["run", "search_spaces/demo.yaml", "--smoke", "--here", "--set", "grid.method=[random_init]"]
        words += ["--storage", str(tmp_path / "runs"), "--tracking-uri", deployment.uri]
        done = finished([BIN / "dwp-sweep", *words], PLAIN | {"HOME": str(tmp_path)})
        assert done.returncode == 0, done.stdout + done.stderr
        assert "cannot be used" not in done.stdout + done.stderr
        status, answer = deployment.ask("experiments/get-by-name?experiment_name=demo-smoke", *sweeps)
        assert status == 200
        of_sweeps = answer["experiment"]["experiment_id"]
        query = {"experiment_ids": [of_sweeps], "filter": "tags.`dwp.stage` = 'target'"}
        runs = deployment.ask("runs/search", *sweeps, **query)[1]["runs"]
        assert [run["info"]["status"] for run in runs] == ["FINISHED"]


def test_a_newly_drawn_password_holds_from_the_next_start_on(deployment: Deployment) -> None:
    before = deployment.secret("mlflow_sweeps_password")
    for name in ("mlflow_sweeps_password", "mlflow_credentials"):
        (deployment.folder / "secrets" / name).unlink()
    command = [DEPLOY / "make_secrets.sh", deployment.folder / "secrets"]
    subprocess.run(command, capture_output=True, check=True)
    after = deployment.secret("mlflow_sweeps_password")
    assert after != before and after in deployment.secret("mlflow_credentials")
    with deployment.serving():
        assert deployment.ask("experiments/search?max_results=1", "sweeps", after)[0] == 200
        assert deployment.ask("experiments/search?max_results=1", "sweeps", before)[0] == 401
    assert before not in (text := (deployment.folder / "mlflow.log").read_text()) and after not in text
