"""The server of the deployments, on PostgreSQL and S3: jobs log as a user who is no administrator."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import BIN, PLAIN, finished
from tests.deploy.deployment import Deployment, deployed
from tests.deploy.documents import DEPLOY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("users")) as (made, _, _):
        yield made


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
