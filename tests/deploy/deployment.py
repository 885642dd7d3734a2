"""A deployment's MLflow server for tests: its secrets, a real PostgreSQL and a server that speaks S3."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.postgres import started_postgres, why_no_postgres
from tests.benchmarks.servers import running
from tests.cluster.heads import free_ports
from tests.cluster.processes import PLAIN
from tests.deploy.documents import DEPLOY
from tests.store.s3_server import KEY, SECRET, S3Server, serving


@dataclass(frozen=True)
class Deployment:
    """What a server stands on, and the folder of its secrets."""

    folder: Path
    environment: dict[str, str]
    uri: str

    def secret(self, name: str) -> str:
        """What a file of the secrets holds."""
        return (self.folder / "secrets" / name).read_text()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The server, until the end of the context."""
        command = [DEPLOY / "mlflow_server.sh"]
        with running(command, self.environment, self.folder / "mlflow.log", self.is_ready):
            yield

    def is_ready(self) -> bool:
        """Whether the server answers."""
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


def as_superuser(superuser: str, secrets: Path) -> str:
    """MLflow's URL of the database that the superuser has made, without a driver's name."""
    return superuser.replace("+psycopg", "")


@contextmanager
def deployed(
    folder: Path, database: Callable[[str, Path], str] = as_superuser
) -> Iterator[tuple[Deployment, S3Server, str]]:
    """A deployment whose server is not running yet, its S3, and the superuser's URL of its database.

    Args:
        folder: Gets the secrets and logs.
        database: From the superuser's URL and the folder of the secrets to MLflow's URL.
    """
    if reason := why_no_postgres():
        pytest.skip(reason)
    secrets = folder / "secrets"
    subprocess.run([DEPLOY / "make_secrets.sh", secrets], capture_output=True, check=True)
    (secrets / "s3_credentials").unlink()
    keys = f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (secrets / "s3_credentials").write_text(keys)
    port, database_port = free_ports(2)
    with ExitStack() as stack:
        superuser = stack.enter_context(started_postgres("127.0.0.1", database_port))
        url = database(superuser, secrets)
        server = stack.enter_context(serving(folder, "moto"))
        environment = PLAIN | {
            "HOME": str(folder),
            "SECRETS": str(secrets),
            "MLFLOW_DATABASE": url,
            "MLFLOW_BUCKET": "mlflow",
            "MLFLOW_S3_ENDPOINT_URL": server.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_ALLOWED_HOSTS": f"127.0.0.1:{port}",
            "MLFLOW_HOST": "127.0.0.1",
            "MLFLOW_PORT": str(port),
            "MLFLOW_WORKERS": "1",
        }
        yield Deployment(folder, environment, f"http://127.0.0.1:{port}"), server, superuser
