#!/usr/bin/env bash
# A Ray cluster of one machine that takes jobs from this machine and this user.
#
#   deploy/single_head.sh                     start it here; Ctrl-C (or SIGTERM) ends it and all that it started
#   deploy/single_head.sh --num-cpus 8        further options go to `ray start`
#   deploy/single_head.sh --without-token     take jobs of everyone who reaches the loopback: every user of this machine
#
# Then, as soon as it answers:
#
#   until curl -sf http://127.0.0.1:8265/api/gcs_healthz >/dev/null; do sleep 1; done
#   dwp-sweep submit search_spaces/demo.yaml --address http://127.0.0.1:8265 --smoke
#
# All of its ports are on the loopback, and whoever knows its token may run anything as you. The token is read from
# RAY_AUTH_TOKEN_PATH (default: ~/.ray/auth_token, where Ray's own programs look too) and drawn there, for you alone, if
# the file is not there. Ray's sockets and the packages of jobs lie below RAY_TMPDIR, its logs in ray/session_latest/logs
# there. The default, /tmp/dwp_sweep-UID, is closed to other users; a folder of your own you close yourself.
#
# Jobs run in copies of the working directory that Ray deletes, so results go to DWP_SWEEP_STORAGE (default: dwp_runs
# beside this script's repository).
#
# DWP_SWEEP_HEAD_IP is an address of this machine under which others join with `ray start --address`, each with the same
# token and storage. Ray then listens on all interfaces, unencrypted: on a network of trusted machines only.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
host="${DWP_SWEEP_HEAD_IP:-127.0.0.1}"

refuse() { echo "no head: $1" >&2; exit 2; }

# A job's command is looked up on the head's PATH: the head must be started from the project's environment.
export PATH="${DWP_SWEEP_BIN:-$root/.venv/bin}:$PATH"
export DWP_SWEEP_STORAGE="${DWP_SWEEP_STORAGE:-$root/dwp_runs}"
export RAY_USAGE_STATS_ENABLED=0
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true

if [[ ${1:-} == --without-token ]]; then
    [[ $host == 127.0.0.1 ]] || refuse "--without-token is for the loopback alone; take DWP_SWEEP_HEAD_IP=$host away"
    shift
    export RAY_AUTH_MODE=disabled
elif [[ ${RAY_AUTH_MODE:-token} != token ]]; then
    refuse "RAY_AUTH_MODE=$RAY_AUTH_MODE lets everyone on this machine run jobs as you; if that is meant, say --without-token"
else
    export RAY_AUTH_MODE=token
    if [[ -z ${RAY_AUTH_TOKEN:-} ]]; then
        export RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
        if [[ ! -s $RAY_AUTH_TOKEN_PATH ]]; then
            mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
            (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")
            chmod 600 "$RAY_AUTH_TOKEN_PATH"
        fi
        echo "the token is in $RAY_AUTH_TOKEN_PATH"
    fi
fi

if [[ -z ${RAY_TMPDIR:-} ]]; then
    # Ray opens its folder to all users, so the one around it is closed. Short: Ray makes sockets below it.
    export RAY_TMPDIR="/tmp/dwp_sweep-$UID"
    mkdir -m 700 "$RAY_TMPDIR" 2>/dev/null || true
    [[ -O $RAY_TMPDIR && ! -L $RAY_TMPDIR ]] || refuse "$RAY_TMPDIR belongs to somebody else; set RAY_TMPDIR to a folder of yours"
    chmod 700 "$RAY_TMPDIR"
fi
if [[ $host == 127.0.0.1 ]]; then
    # Otherwise Ray takes the address of another interface in its place and listens on all of them.
    export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
fi

exec ray start --head --block \
    --node-ip-address "$host" \
    --dashboard-host "$host" \
    --dashboard-port "${DWP_SWEEP_DASHBOARD_PORT:-8265}" \
    --port "${DWP_SWEEP_RAY_PORT:-6379}" \
    --disable-usage-stats "$@"
