"""What a sweep submitted to a cluster takes along: its search-space file, and our source from a checkout.

Scans and results never travel: they lie on the cluster's storage. Ray takes the folder as a job's working
directory and puts it first on the path of the driver and of all workers.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dwp_sweep
from dwp_sweep.config.shipped import space_path
from dwp_sweep.config.space import Space, load_space
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.passwords import without_secrets
from dwp_sweep.stages.workload import WORKLOADS
from dwp_sweep.tracking.client import shown_uri

_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


@dataclass(frozen=True)
class JobRequest:
    """A sweep to be run on a cluster.

    Attributes:
        sweep: Its name.
        space_file: The search-space file, on this machine.
        entrypoint: Command line of the job; holds no secret.
        digest: Of the command and the file's content: the same for a repeated submission.
        environment: Variables for the job, values and all; whoever may ask for the job sees them.
    """

    sweep: str
    space_file: Path
    entrypoint: str
    digest: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def job_request(
    space_file: Path,
    overrides: Sequence[str] = (),
    smoke: bool = False,
    storage: str | None = None,
    tracking_uri: str | None = None,
    retry_failed: bool = True,
    max_concurrent: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> JobRequest:
    """Check a sweep as far as that goes without its data, and say how the cluster is to run it.

    Args:
        space_file: On this machine.
        overrides: As for a run.
        smoke: As for a run.
        storage: As the cluster sees it; None: as ``DWP_SWEEP_STORAGE`` says there.
        tracking_uri: As the cluster sees it; None: as ``MLFLOW_TRACKING_URI`` says there.
        retry_failed: As for a run.
        max_concurrent: As for a run.
        environment: Variables for the job.

    Raises:
        InputError: The file or an override is wrong; a path means something here, but nothing there; the
            tracking URI, the file or an override holds a password.
    """
    space_file = space_path(space_file)
    space = load_space(space_file, overrides, smoke)
    problems = [*_local_paths(space), *_place_problems(storage, tracking_uri)]
    problems += _secrets(space_file, overrides)
    if problems:
        raise InputError(problems)
    words = ["dwp-sweep", "run", space_file.name]
    words += [word for override in overrides for word in ("--set", override)]
    words += ["--smoke"] if smoke else []
    words += ["--storage", storage] if storage else []
    words += ["--tracking-uri", tracking_uri] if tracking_uri else []
    words += [] if retry_failed else ["--no-retry-failed"]
    words += ["--max-concurrent", str(max_concurrent)] if max_concurrent else []
    entrypoint = shlex.join(words)
    digest = hashlib.sha256(entrypoint.encode() + b"\0" + space_file.read_bytes()).hexdigest()[:16]
    return JobRequest(space.name, space_file, entrypoint, digest, dict(environment or {}))


def write_package(request: JobRequest, folder: Path, source: Path | None = None) -> int:
    """Fill a folder with what the job needs.

    Args:
        request: The sweep.
        folder: Exists and is empty.
        source: The folder of our package; None: where it was imported from.

    Returns:
        Bytes that were written.
    """
    shutil.copyfile(request.space_file, folder / request.space_file.name)
    source = source or Path(dwp_sweep.__file__).parent
    # The cluster has an installed package of its own; a checkout is what its owner works on.
    if (source.parent / "pyproject.toml").is_file():
        shutil.copytree(source, folder / source.name, ignore=_IGNORED)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _secrets(space_file: Path, overrides: Sequence[str]) -> Iterator[Problem]:
    """Passwords in what travels: whoever may ask for a job may read its package and its command line."""
    lines = space_file.read_text(encoding="utf-8").splitlines()
    places = [(f"{space_file} line {number}", line.strip()) for number, line in enumerate(lines, 1)]
    places += [("--set", override) for override in overrides]
    for where, text in places:
        if (shown := without_secrets(text)) != text:
            fix = "leave it out: PostgreSQL's clients take it from ~/.pgpass or PGPASSFILE on the head"
            yield Problem(where, f"holds a password, which would travel with the job: {shown}", fix)


def _local_paths(space: Space) -> Iterator[Problem]:
    """Relative paths: on the cluster they would be looked for in the job's own folder."""
    keys = sorted(key for workload in WORKLOADS.values() for key in workload.path_keys)
    paths: dict[tuple[str, str], None] = {}
    for condition in space.conditions:
        for key in keys:
            value: Any = condition
            for name in key.split("."):
                value = getattr(value, name, None)  # a sweep may have no source data
            if value is not None:
                paths[key, value] = None
    for key, text in paths:
        if not (text.startswith(("/", "~", "runs:/")) or "://" in text):
            what = f"{key} = {text!r} is a path relative to this folder, which the cluster does not see"
            yield Problem(space.file, what, "put it on the cluster's storage and give the path there")


def _place_problems(storage: str | None, tracking_uri: str | None) -> Iterator[Problem]:
    if storage and not (storage.startswith("/") or "://" in storage):
        fix = "give an absolute path, or s3://BUCKET/PATH, as the cluster's machines see it"
        yield Problem(
            f"--storage {storage}", "is relative to this folder, which the cluster does not see", fix
        )
    if tracking_uri and shown_uri(tracking_uri) != tracking_uri:
        what = "holds a password, which would be seen in the job's command line"
        fix = "give MLflow's credentials to the cluster (deploy/README.md), or use --pass-env"
        yield Problem(f"--tracking-uri {shown_uri(tracking_uri)}", what, fix)
