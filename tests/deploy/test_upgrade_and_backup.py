"""MLflow's database upgraded from an older schema, backed up, lost and restored: real PostgreSQL and S3."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import sqlalchemy
from alembic.script import ScriptDirectory

from tests.benchmarks.servers import end
from tests.cluster.processes import PLAIN
from tests.deploy.deployment import Deployment, deployed
from tests.deploy.documents import DEPLOY
from tests.store.s3_server import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, S3Server, str]]:
    """A deployment whose server logs into the database as the role that the script makes."""
    with deployed(tmp_path_factory.mktemp("backup"), as_own_role) as made:
        yield made


def as_own_role(superuser: str, secrets: Path) -> str:
    """Run the script of PostgreSQL's container; MLflow's URL of the database that it makes."""
    url = sqlalchemy.make_url(superuser)
    psql(superuser, "postgres", "DROP DATABASE mlflow")
    made = {"POSTGRES_PASSWORD_FILE": str(secrets / "postgres_password"), "POSTGRES_USER": "postgres"}
    where = {"PGHOST": str(url.host), "PGPORT": str(url.port)}
    subprocess.run([DEPLOY / "postgres_role.sh"], env=PLAIN | made | where, check=True)
    return f"postgresql://mlflow@{url.host}:{url.port}/mlflow"


def psql(superuser: str, database: str, statement: str) -> list[tuple[object, ...]]:
    """Rows of a statement that the superuser says, outside of any transaction."""
    url = sqlalchemy.make_url(superuser).set(database=database)
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        answer = connection.execute(sqlalchemy.text(statement))
        rows = [tuple(row) for row in answer] if answer.returns_rows else []
    engine.dispose()
    return rows


def until(is_so: Callable[[], bool], within_s: float = 180) -> None:
    end_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.2)


def test_the_role_of_mlflow_is_no_superuser(stand: tuple[Deployment, S3Server, str]) -> None:
    ((is_superuser, makes_roles, makes_databases),) = psql(
        stand[2],
        "mlflow",
        "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'mlflow'",
    )
    assert (is_superuser, makes_roles, makes_databases) == (False, False, False)


def test_a_server_waits_for_the_upgrade_of_an_older_database(stand: tuple[Deployment, S3Server, str]) -> None:
    deployment, _, superuser = stand
    of_mlflow = ScriptDirectory(str(files("mlflow.store.db_migrations")))
    newest = of_mlflow.get_current_head()
    assert newest is not None
    (older,) = {of_mlflow.get_revision(newest).down_revision}
    # The schema of before the last migration, as an older MLflow made it.
    build = (
        "import sys, sqlalchemy; from alembic import command;"
        "from mlflow.store.db.utils import _get_alembic_config;"
        "from mlflow.store.tracking.dbmodels.initial_models import Base;"
        "Base.metadata.create_all(sqlalchemy.create_engine(sys.argv[1]));"
        "command.upgrade(_get_alembic_config(sys.argv[1]), sys.argv[2])"
    )
    url = sqlalchemy.make_url(superuser).set(username="mlflow").render_as_string(hide_password=False)
    subprocess.run([sys.executable, "-c", build, url, older], capture_output=True, check=True)
    log = deployment.folder / "waits.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [DEPLOY / "mlflow_server.sh"],
            env=deployment.environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        until(lambda: "back it up, then run `mlflow_server.sh upgrade`" in log.read_text())
        assert server.poll() is None and not deployment.is_ready()
        upgrade = [DEPLOY / "mlflow_server.sh", "upgrade"]
        done = subprocess.run(
            upgrade, env=deployment.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "is of this MLflow now" in done.stdout, done.stderr
        until(deployment.is_ready)
        assert log.read_text().count("back it up") == 1
    finally:
        end(server)
    assert psql(superuser, "mlflow", "SELECT version_num FROM alembic_version") == [(newest,)]


def test_what_was_backed_up_is_restored_after_everything_is_lost(
    stand: tuple[Deployment, S3Server, str], tmp_path: Path
) -> None:
    deployment, server, superuser = stand
    sweeps = ("sweeps", deployment.secret("mlflow_sweeps_password"))
    with deployment.serving():
        experiment = deployment.ask("experiments/create", *sweeps, name="kept")[1]["experiment_id"]
        run = deployment.ask("runs/create", *sweeps, experiment_id=experiment)[1]["run"]["info"]["run_id"]
        deployment.ask("runs/log-metric", *sweeps, run_id=run, key="dice", value=0.7, timestamp=1)
    key = f"{experiment}/{run}/artifacts/net.json"
    server.client.put_object(Bucket="mlflow", Key=key, Body=b"weights")

    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    plain = sqlalchemy.make_url(superuser).set(drivername="postgresql", database="mlflow")
    url = plain.render_as_string(hide_password=False)
    subprocess.run(
        [programs / "pg_dump", "--format=custom", f"--file={tmp_path}/mlflow.dump", url], check=True
    )
    bucket = [sys.executable, DEPLOY / "bucket.py"]
    keys = {"AWS_SHARED_CREDENTIALS_FILE": str(deployment.folder / "secrets" / "s3_credentials")}
    environment = deployment.environment | keys
    subprocess.run([*bucket, "save", "mlflow", tmp_path / "objects"], env=environment, check=True)

    psql(superuser, "postgres", "DROP DATABASE mlflow")
    server.client.delete_object(Bucket="mlflow", Key=key)
    server.client.delete_bucket(Bucket="mlflow")

    psql(superuser, "postgres", "CREATE DATABASE mlflow OWNER mlflow")
    restore = [programs / "pg_restore", "--exit-on-error", f"--dbname={url}", tmp_path / "mlflow.dump"]
    subprocess.run(restore, check=True)
    subprocess.run([*bucket, "restore", tmp_path / "objects", "mlflow"], env=environment, check=True)
    with deployment.serving():
        status, answer = deployment.ask(f"runs/get?run_id={run}", *sweeps)
        assert status == 200 and answer["run"]["data"]["metrics"][0]["value"] == 0.7
    assert server.client.get_object(Bucket="mlflow", Key=key)["Body"].read() == b"weights"
