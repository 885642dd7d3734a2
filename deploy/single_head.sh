#!/usr/bin/env bash
# A Ray cluster of one machine that takes jobs; more machines join it with `ray start --address`.
#
#   deploy/single_head.sh                     start it here; Ctrl-C (or SIGTERM) ends it and all that it started
#   deploy/single_head.sh --num-cpus 8        further options go to `ray start`
#
# Then, on any machine that reaches it, as soon as it answers:
#
#   until curl -sf http://127.0.0.1:8265/api/version >/dev/null; do sleep 1; done
#   dwp-sweep submit search_spaces/demo.yaml --address http://127.0.0.1:8265 --smoke
#
# Jobs run in copies of the working directory that Ray deletes, so results go to DWP_SWEEP_STORAGE
# (default: dwp_runs beside this script's repository); on several machines it must be a shared folder.
# RAY_AUTH_MODE: `disabled` is for a loopback or a trusted network only; on any other say
# RAY_AUTH_MODE=token and give every machine and client the same RAY_AUTH_TOKEN_PATH.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# A job's command is looked up on the head's PATH: the head must be started from the project's environment.
export PATH="${DWP_SWEEP_BIN:-$root/.venv/bin}:$PATH"
export DWP_SWEEP_STORAGE="${DWP_SWEEP_STORAGE:-$root/dwp_runs}"
export RAY_AUTH_MODE="${RAY_AUTH_MODE:-disabled}"
export RAY_USAGE_STATS_ENABLED=0
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true

exec ray start --head --block \
    --node-ip-address "${DWP_SWEEP_HEAD_IP:-127.0.0.1}" \
    --dashboard-host "${DWP_SWEEP_HEAD_IP:-127.0.0.1}" \
    --dashboard-port "${DWP_SWEEP_DASHBOARD_PORT:-8265}" \
    --port "${DWP_SWEEP_RAY_PORT:-6379}" \
    --disable-usage-stats "$@"
