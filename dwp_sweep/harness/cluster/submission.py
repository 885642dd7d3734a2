"""A sweep as a job of a cluster: submitted once, attached to while it runs, continued after it ended.

A job's id is made of the sweep's name and a number, and the job server takes every id only once: of two
submissions of the same sweep at once, one starts it and the other attaches. `connect` finds the job server,
`submit` starts or attaches, `follow` writes the log until the job ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.errors import DwpSweepError, InputError, Problem
from dwp_sweep.harness.cluster.access import cluster_token
from dwp_sweep.harness.cluster.job_package import JobRequest, write_package

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

Write = Callable[[str], None]

_PREFIX = "dwp-sweep"
_SWEEP, _DIGEST = "dwp.sweep", "dwp.request"
_RUN_ENDS = (0, 1, 2, 3, 130)
_POLL_S = 1.0
_PATIENCE_S = 120.0
_N_TRIES = 5
_ANSWER_WITHIN_S = 15.0
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")


class JobLostError(DwpSweepError):
    """The cluster stopped answering, or no longer knows the job."""


@dataclass(frozen=True)
class SubmittedJob:
    """A sweep's job on the cluster.

    Attributes:
        id: Its submission id.
        is_new: Started by this submission; otherwise it was running already.
        n_bytes: What was packed for it.
    """

    id: str
    is_new: bool
    n_bytes: int = 0


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        exit_code: The sweep's own; 1 where it died without one, 130 where it was stopped.
        died: Why, where the sweep did not end by itself; empty otherwise.
    """

    exit_code: int
    died: str = ""


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
    status, answer = _request_version(address, {})
    token = None
    if status == 401:
        token = cluster_token(f"--address {address}")
        status, answer = _request_version(address, token.headers)
        if status in (401, 403):
            raise token.refused(f"--address {address}")
    _check_version(address, status, answer)
    return _client(address, token.headers if token else {})


def submit(client: JobSubmissionClient, request: JobRequest) -> SubmittedJob:
    """Start a sweep on the cluster, unless it runs there already.

    Raises:
        InputError: It runs there with other settings; the job server refuses the job.
    """
    for _ in range(_N_TRIES):
        jobs = [
            job
            for job in client.list_jobs()
            if job.submission_id and (job.metadata or {}).get(_SWEEP) == request.sweep
        ]
        running = [job for job in jobs if not job.status.is_terminal()]
        if running:
            _require_same_request(running[0], request)
            return SubmittedJob(str(running[0].submission_id), False)
        numbers = [int(digits) for job in jobs for digits in re.findall(r"\.(\d+)$", str(job.submission_id))]
        submission_id = f"{_PREFIX}.{request.sweep}.{max(numbers, default=0) + 1}"
        try:
            return SubmittedJob(submission_id, True, _start(client, request, submission_id))
        except (RuntimeError, OSError) as error:
            if "already exists" not in str(error):
                # The server's answer may be a traceback; its last line says what was wrong.
                lines = str(error).replace("\\n", "\n").strip().splitlines() or [type(error).__name__]
                what = f"the cluster does not take the job: {lines[-1]}"
                raise InputError(Problem(f"sweep {request.sweep}", what)) from error
            # Another submission took the number in between: the next round finds its job.
    raise InputError(Problem(f"sweep {request.sweep}", "many submissions at once", "try again"))


def follow(client: JobSubmissionClient, job_id: str, write: Write, patience_s: float = _PATIENCE_S) -> JobEnd:
    """Write a job's log as it grows, until the job ends.

    Args:
        client: Of the cluster.
        job_id: The job.
        write: Gets pieces of the log, each once, whatever connections break in between.
        patience_s: For how long the cluster may not answer.

    Raises:
        JobLostError: The cluster stopped answering, or does not know the job any more.
    """
    import aiohttp

    log, answered_s = _Log(write), time.monotonic()
    while True:
        try:
            log.from_start()
            asyncio.run(_tail(client, job_id, log))
            details = client.get_job_info(job_id)
            answered_s = time.monotonic()
            if details.status.is_terminal():
                log.from_start()
                log(client.get_job_logs(job_id))
                return _end(details)
        except (RuntimeError, OSError, aiohttp.ClientError) as error:
            if "does not exist" in str(error):
                what = f"the cluster knows no job {job_id}: was its head started anew?"
                raise JobLostError(what) from error
            if time.monotonic() - answered_s > patience_s:
                raise JobLostError(f"the cluster has not answered for {patience_s:g} s: {error}") from error
        time.sleep(_POLL_S)


class _Log:
    """Writes each part of a text once, though every connection sends it from its start."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._n_written = 0
        self._n_received = 0

    def from_start(self) -> None:
        self._n_received = 0

    def __call__(self, text: str) -> None:
        new = text[max(0, self._n_written - self._n_received) :]
        self._n_received += len(text)
        if new:
            self._n_written += len(new)
            self._write(new)


async def _tail(client: JobSubmissionClient, job_id: str, log: _Log) -> None:
    async for text in client.tail_job_logs(job_id):
        log(text)


def _require_same_request(job: JobDetails, request: JobRequest) -> None:
    if (job.metadata or {}).get(_DIGEST) != request.digest:
        job_id = str(job.submission_id)
        what = f"runs on the cluster as job {job_id} with other settings: {job.entrypoint}"
        fix = (
            f"wait for its end, stop it (ray job stop {job_id}), or name this one otherwise (--set name=...)"
        )
        raise InputError(Problem(f"sweep {request.sweep}", what, fix))


def _start(client: JobSubmissionClient, request: JobRequest, submission_id: str) -> int:
    with tempfile.TemporaryDirectory(prefix="dwp-sweep-job-") as folder:
        n_bytes = write_package(request, Path(folder))
        runtime_env: dict[str, object] = {"working_dir": folder}
        if request.environment:
            runtime_env["env_vars"] = dict(request.environment)
        client.submit_job(
            entrypoint=request.entrypoint,
            submission_id=submission_id,
            runtime_env=runtime_env,
            metadata={_SWEEP: request.sweep, _DIGEST: request.digest},
        )
    return n_bytes


def _end(details: JobDetails) -> JobEnd:
    status, code = str(details.status), details.driver_exit_code
    if status == "SUCCEEDED":
        return JobEnd(0)
    if status == "STOPPED":
        return JobEnd(130, "the job was stopped")
    if code in _RUN_ENDS[1:]:
        return JobEnd(int(code))
    how = f" (exit code {code})" if code is not None else ""
    return JobEnd(1, f"the job died{how}: {(details.message or 'no reason is known').strip()}")


def _request_version(address: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
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
    overrides = {name: os.environ.pop(name) for name in _OVERRIDES if name in os.environ}
    try:
        return JobSubmissionClient(address, headers=dict(headers))
    except (OSError, RuntimeError, RayError) as error:
        what = f"the job server does not work: {str(error).strip().partition(chr(10))[0]}"
        raise InputError(Problem(f"--address {address}", what, "look at the head's logs")) from error
    finally:
        os.environ.update(overrides)
