"""A cluster's job server: is it one, may we, does its Ray fit ours; then a client of it.

Ray's own client waits without limit for an address that does not answer, and takes another address from the
environment than the one it is given; both are met here. Knows nothing of sweeps.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.cluster_token import cluster_token

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_ANSWER_WITHIN_S = 15.0
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")


def connect(address: str) -> JobSubmissionClient:
    """A client of the job server at an address.

    A token is sent only to a cluster that asks for one. It comes from ``RAY_AUTH_TOKEN``, the file
    ``RAY_AUTH_TOKEN_PATH`` or ``~/.ray/auth_token``, as for Ray's own commands.

    Args:
        address: ``http://HOST:PORT`` of the cluster's dashboard.

    Raises:
        InputError: Nothing answers there, or something that is no job server; the token is missing or
            refused; the cluster runs another version of Ray.
    """
    address = address.rstrip("/")
    if not address.startswith(("http://", "https://")):
        fix = f"give the dashboard's address, as in http://{address.rpartition('://')[2].partition(':')[0]}:8265"
        raise InputError(Problem(f"--address {address}", "is no http address", fix))
    status, answer = _asked(address, {})
    token = None
    if status == 401:
        token = cluster_token(f"--address {address}")
        status, answer = _asked(address, token.headers)
        if status in (401, 403):
            raise token.refused(f"--address {address}")
    _check_version(address, status, answer)
    return _client(address, token.headers if token else {})


def _asked(address: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{address}/api/version", headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        fix = "is the cluster up, is this its dashboard's address, does a tunnel or port-forward run?"
        raise InputError(Problem(f"--address {address}", f"nothing answers there: {reason}", fix)) from error


def _check_version(address: str, status: int, answer: bytes) -> None:
    where, ours = f"--address {address}", version("ray")
    try:
        theirs = json.loads(answer)["ray_version"] if status == 200 else None
    except (ValueError, KeyError, TypeError):
        theirs = None
    if theirs is None:
        fix = "give the address of the cluster's dashboard; its port is 8265 by default"
        raise InputError(Problem(where, f"what answers there is no job server of Ray (status {status})", fix))
    if theirs != ours:
        fix = f"install ray=={theirs} here, or start the cluster from this project's constraints.txt"
        raise InputError(Problem(where, f"the cluster runs Ray {theirs}, this is Ray {ours}", fix))


def _client(address: str, headers: Mapping[str, str]) -> JobSubmissionClient:
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with _without(_OVERRIDES):
            return JobSubmissionClient(address, headers=dict(headers))
    except (OSError, RuntimeError, RayError) as error:
        what = f"the job server does not work: {str(error).strip().partition(chr(10))[0]}"
        raise InputError(Problem(f"--address {address}", what, "look at the head's logs")) from error


@contextlib.contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)
