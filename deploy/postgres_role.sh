#!/usr/bin/env bash
# Runs once, in PostgreSQL's container, when its data folder is new: MLflow's role owns its database and is no
# superuser. The password comes from a file; psql reads it from standard input.
set -euo pipefail
password="$(cat "${POSTGRES_PASSWORD_FILE:?the file with the password}")"
psql --no-psqlrc --set=ON_ERROR_STOP=1 --quiet --username="${POSTGRES_USER:?}" --dbname=postgres <<SQL
CREATE ROLE mlflow LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '$password';
CREATE DATABASE mlflow OWNER mlflow;
SQL
