#!/usr/bin/env bash
# Draws the secrets of a deployment into a folder that git ignores: deploy/secrets, or the one given.
# What is already there stays, so that running it again breaks no cluster.
#
#   deploy/make_secrets.sh [FOLDER]
#   deploy/make_secrets.sh rotate NAME [FOLDER]     draws one anew, with all files that hold it, and says what follows
#
# NAME is ray_auth_token, postgres_password, mlflow_admin_password, mlflow_sweeps_password, mlflow_flask_secret_key or s3.
#
# The folder is for its owner alone. The files in it can be read by all: a container's user has another
# number than yours, and is given single files.
set -euo pipefail
rotated=""
if [[ ${1:-} == rotate ]]; then
    rotated="${2:-}"
    case "$rotated" in
    ray_auth_token | postgres_password | mlflow_admin_password | mlflow_sweeps_password | mlflow_flask_secret_key | s3) ;;
    *)
        echo "rotate what? ray_auth_token, postgres_password, mlflow_admin_password, mlflow_sweeps_password," \
            "mlflow_flask_secret_key or s3" >&2
        exit 2
        ;;
    esac
    shift 2
fi
folder="${1:-$(dirname "${BASH_SOURCE[0]}")/secrets}"
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

drawn() { python3 -c 'import secrets; print(secrets.token_hex(24), end="")'; }

# What holds a secret goes with it.
case "$rotated" in
"") ;;
s3) rm -f s3_credentials s3.json ;;
mlflow_sweeps_password) rm -f mlflow_sweeps_password mlflow_credentials ;;
*) rm -f "$rotated" ;;
esac

# Writes standard input to a file that is not there yet.
keep() {
    local text
    text="$(cat)"
    if [[ ! -s $1 ]]; then
        printf '%s' "$text" >"$1"
        chmod 444 "$1"
    fi
}

for name in ray_auth_token postgres_password mlflow_admin_password mlflow_sweeps_password mlflow_flask_secret_key; do
    drawn | keep "$name"
done
# What MLflow's client reads from ~/.mlflow/credentials: for jobs and people, as a user who is no administrator.
keep mlflow_credentials <<TEXT
[mlflow]
mlflow_tracking_username = sweeps
mlflow_tracking_password = $(cat mlflow_sweeps_password)
TEXT
if ! grep -q "= $(cat mlflow_sweeps_password)\$" mlflow_credentials; then
    echo "mlflow_credentials is not of the user sweeps: delete it, run this again, and install it on every client" >&2
fi
# The same key pair as the S3 client and as the S3 server read it.
if [[ ! -s s3_credentials || ! -s s3.json ]]; then
    rm -f s3_credentials s3.json
    key="$(drawn)" secret="$(drawn)"
    keep s3_credentials <<TEXT
[default]
aws_access_key_id = $key
aws_secret_access_key = $secret
TEXT
    keep s3.json <<TEXT
{"identities": [{"name": "mlflow", "credentials": [{"accessKey": "$key", "secretKey": "$secret"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
TEXT
fi
echo "secrets are in $PWD"
case "$rotated" in
ray_auth_token) echo "give it to every client, and restart the cluster" ;;
postgres_password) echo "tell the database (README.md, Secrets), then restart MLflow's server" ;;
mlflow_sweeps_password) echo "install mlflow_credentials on every client, and restart MLflow's server" ;;
mlflow_admin_password) echo "restart MLflow's server" ;;
mlflow_flask_secret_key) echo "restart MLflow's server; who is logged in logs in again" ;;
s3) echo "restart the S3 store and MLflow's server" ;;
*) ;;
esac
