#!/usr/bin/env bash
# Starts MLflow's server with authentication, on PostgreSQL and an S3-compatible store, its secrets read
# from files. Runs inside the project's image (compose.yaml, kuberay/mlflow.yaml).
#
#   mlflow_server.sh           the server; with a database of an older MLflow it waits until that is upgraded
#   mlflow_server.sh upgrade   upgrades the database, and ends: back it up first (README.md)
#
# SECRETS (default /run/secrets) is a folder with the files postgres_password, mlflow_admin_password,
# mlflow_sweeps_password, mlflow_flask_secret_key and s3_credentials (an AWS credentials file), as make_secrets.sh
# writes them.
# No password comes near a command line or a log: libpq reads a password file, boto3 a credentials file.
#
#   MLFLOW_DATABASE        postgresql://USER@HOST:PORT/NAME, without a password
#   MLFLOW_BUCKET          bucket of the artifacts, made if it is not there
#   MLFLOW_ALLOWED_HOSTS   Host headers that are answered, with their ports: the names that clients use
#   MLFLOW_S3_ENDPOINT_URL where the store answers; empty: Amazon's
set -euo pipefail
umask 077

mode="${1:-serve}"
[[ $mode == serve || $mode == upgrade ]] || { echo "usage: mlflow_server.sh [upgrade]" >&2; exit 2; }
: "${MLFLOW_DATABASE:?where the runs go}" "${MLFLOW_BUCKET:?where the artifacts go}"
: "${MLFLOW_ALLOWED_HOSTS:?the names that clients use}"
export SECRETS="${SECRETS:-/run/secrets}"
secrets="$SECRETS"
for name in postgres_password mlflow_admin_password mlflow_sweeps_password mlflow_flask_secret_key s3_credentials; do
    [[ -r $secrets/$name ]] || { echo "$secrets/$name cannot be read: run deploy/make_secrets.sh" >&2; exit 2; }
done
private="$(mktemp -d)"

printf '*:*:*:*:%s\n' "$(cat "$secrets/postgres_password")" >"$private/pgpass"
export PGPASSFILE="$private/pgpass"
export AWS_SHARED_CREDENTIALS_FILE="$secrets/s3_credentials"
MLFLOW_AUTH_ADMIN_PASSWORD="$(cat "$secrets/mlflow_admin_password")"
MLFLOW_FLASK_SERVER_SECRET_KEY="$(cat "$secrets/mlflow_flask_secret_key")"
export MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY

# Whoever may log in reads everything and writes what is their own.
cat >"$private/auth.ini" <<INI
[mlflow]
default_permission = READ
database_uri = $MLFLOW_DATABASE
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
INI
export MLFLOW_AUTH_CONFIG_PATH="$private/auth.ini"

if [[ $mode == upgrade ]]; then
    mlflow db upgrade "$MLFLOW_DATABASE"
    python -m mlflow.server.auth db upgrade --url "$MLFLOW_DATABASE"
    echo "the database is of this MLflow now"
    exit 0
fi

# A server that ended here would be started again and again. It waits instead, and says for what.
python - <<'PYTHON'
import os
import time

import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from importlib.resources import files

newest = ScriptDirectory(str(files("mlflow.store.db_migrations"))).get_current_head()
engine = sqlalchemy.create_engine(os.environ["MLFLOW_DATABASE"])
has_waited = False
while True:
    with engine.connect() as connection:
        is_empty = not sqlalchemy.inspect(connection).has_table("experiments")
        found = MigrationContext.configure(connection).get_current_revision()
    if is_empty or found == newest:
        break
    if not has_waited:
        print(
            f"the database is of another MLflow (schema {found}, this MLflow's is {newest}): back it up, then run"
            " `mlflow_server.sh upgrade` in this image (deploy/README.md); the server waits until that is done",
            flush=True,
        )
    has_waited = True
    time.sleep(5)
PYTHON

python - "$MLFLOW_BUCKET" <<'PYTHON'
import os
import sys

import boto3

s3 = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None)
if sys.argv[1] not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
    s3.create_bucket(Bucket=sys.argv[1])
PYTHON

# The user of the jobs, who is no administrator, and the administrator. Newly drawn passwords hold from the server's
# next start on.
python - <<'PYTHON'
import os
from pathlib import Path

from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

users = SqlAlchemyStore()
users.init_db(os.environ["MLFLOW_DATABASE"])
for name, is_admin in {"sweeps": False, "admin": True}.items():
    password = Path(os.environ["SECRETS"], f"mlflow_{name}_password").read_text(encoding="utf-8").strip()
    if users.has_user(name):
        users.update_user(name, password=password, is_admin=is_admin)
    else:
        users.create_user(name, password, is_admin=is_admin)
PYTHON

# No server jobs: they add processes and memory, and a sweep uses none.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
exec mlflow server \
    --app-name basic-auth \
    --host "${MLFLOW_HOST:-0.0.0.0}" --port "${MLFLOW_PORT:-5000}" --workers "${MLFLOW_WORKERS:-2}" \
    --uvicorn-opts "--timeout-worker-healthcheck 60" \
    --backend-store-uri "$MLFLOW_DATABASE" \
    --artifacts-destination "s3://$MLFLOW_BUCKET" \
    --allowed-hosts "$MLFLOW_ALLOWED_HOSTS"
