"""Opening MLflow for a sweep: which store, the experiment, the parent run; says so when there is none.

First step of logging: the driver calls `open_tracking` before any worker starts, and hands the plain
`Tracking` on. Knows nothing of stages. The only maker of MLflow clients in the package.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.passwords import without_secrets
from dwp_sweep.store.s3.bucket import is_url
from dwp_sweep.tracking.tags import (
    ENVIRONMENT_FILE,
    PARENT_TAG,
    SETTINGS_FILE,
    SEVERAL,
    STORAGE_TAG,
    SWEEP_TAG,
)
from dwp_sweep.tracking.write.pages import experiment_tags, run_environment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

_QUIET = {
    # A client of a dead server retries for minutes by default: training would wait for it.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_CONNECTION_WORDS = {
    "NameResolutionError": "the host's name is not known",
    "Connection refused": "the connection is refused",
    "Read timed out": "it does not answer in time",
    "ConnectTimeout": "it does not answer in time",
    "out-of-date database schema": "the database is of another version of MLflow: run mlflow db upgrade",
}
_PATIENCE_S = 30.0
_OWN_DATABASE = "."


@dataclass(frozen=True)
class Tracking:
    """Where a sweep logs; plain values, so it travels to workers.

    Attributes:
        uri: MLflow tracking URI, absolute.
        experiment_id: The sweep's experiment; empty when offline.
        parent_run_id: The sweep's parent run; empty when offline.
        online: Whether MLflow answered.
        problem: Why not, for people.
        sweep_name: Name of the sweep and its experiment.
        storage: The storage, a folder or an URL.
        settings: The resolved search space, kept with the parent run.
        opened_s: Unix time of the attempt.
    """

    uri: str = field(repr=False)
    experiment_id: str
    parent_run_id: str
    online: bool
    problem: str | None
    sweep_name: str = ""
    storage: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    opened_s: float = 0.0


def open_tracking(
    uri: str | None, storage: str | Path, sweep_name: str, settings: Mapping[str, Any]
) -> Tracking:
    """Make MLflow ready for a sweep: database, experiment, parent run. What MLflow raises ends here.

    Args:
        uri: Tracking URI; None takes ``MLFLOW_TRACKING_URI``, else ``sqlite:///<storage>/mlflow.db``.
        storage: The storage, a folder or an URL; a database without a server keeps its artifacts there.
        sweep_name: Names the experiment; the parent run of an earlier start is continued.
        settings: The resolved search space.

    Returns:
        With ``online`` False and ``problem`` set where MLflow cannot be used.

    Raises:
        InputError: As `resolve_uri`.
    """
    storage = str(storage) if is_url(storage) else str(Path(storage).resolve())
    uri = resolve_uri(uri, storage)
    now = time.time()
    try:
        with _one_at_a_time(uri):
            client = mlflow_client(uri)
            experiment_id = _experiment(client, uri, storage, sweep_name)
            _tag_experiment(client, experiment_id, sweep_name)
        parent = _parent_run(client, experiment_id, sweep_name, _origin(uri, storage), settings)
    except Exception as error:  # whatever MLflow raises, the sweep must go on without it
        problem = (
            f"MLflow at {shown_uri(uri)} cannot be used: {one_line(error)}. "
            f"Going on with the records under {storage}; the same command sends them once MLflow answers."
        )
        return Tracking(uri, "", "", False, problem, sweep_name, storage, settings, now)
    return Tracking(uri, experiment_id, parent, True, None, sweep_name, storage, settings, now)


def reopen(tracking: Tracking) -> Tracking:
    """Try again where MLflow was not there a while ago; at once after a failure it stays as it is."""
    if tracking.online or time.time() - tracking.opened_s < _PATIENCE_S:
        return tracking
    return open_tracking(tracking.uri, tracking.storage, tracking.sweep_name, tracking.settings)


def close_tracking(tracking: Tracking, status: str) -> None:
    """End the parent run with MLflow's ``FINISHED``, ``FAILED`` or ``KILLED``. Never raises."""
    if not tracking.online:
        return
    try:
        mlflow_client(tracking.uri).set_terminated(tracking.parent_run_id, status)
    except Exception as error:  # the sweep is over; a status in MLflow is not worth its exit code
        log.warning("MLflow did not take the end of sweep %s: %s", tracking.sweep_name, one_line(error))


def resolve_uri(uri: str | None, storage: str | Path) -> str:
    """The tracking URI to use; relative SQLite paths become absolute, since workers live elsewhere.

    Raises:
        InputError: None is given, and the storage is no folder that could hold a database.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri and is_url(storage):
        what = f"results on {storage} need an MLflow of their own: its default, a file, cannot lie there"
        fix = "give --tracking-uri, or set MLFLOW_TRACKING_URI, as in http://HOST:5000"
        raise InputError(Problem("--tracking-uri", what, fix))
    uri = uri or f"sqlite:///{Path(storage).resolve() / 'mlflow.db'}"
    path = sqlite_path(uri)
    return uri if path is None else f"sqlite:///{path}"


def sqlite_path(uri: str) -> Path | None:
    """The absolute file behind an ``sqlite:///`` URI; None for any other."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def runs_come_from(tags: Mapping[str, str], uri: str, storage: str) -> bool:
    """Whether all runs of a sweep in MLflow were logged from one storage, so that its records say as much.

    Args:
        tags: Of the sweep's parent run; one without `STORAGE_TAG` in a storage's own database is trusted.
        uri: MLflow's tracking URI.
        storage: The storage, a resolved folder or an URL.
    """
    own = _origin(uri, storage)
    return tags.get(STORAGE_TAG, _OWN_DATABASE) == own


def mlflow_client(uri: str) -> MlflowClient:
    """A client with an explicit URI, short patience and no telemetry.

    Settings of the user's environment win over ours. They are set here, since MLflow reads some of
    them when it is first imported.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's dependencies warn on import; users cannot act on it
        from mlflow import MlflowClient
    for name in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def shown_uri(uri: str) -> str:
    """The URI without the password that it may hold."""
    return without_secrets(uri)


def one_line(error: BaseException, limit: int = 240) -> str:
    """What an error says in one line, cut; failed connections in plain words."""
    for sign, words in _CONNECTION_WORDS.items():
        if sign in str(error):
            return words
    lines = str(error).strip().splitlines()
    text = without_secrets(lines[0]) if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    # Two processes that make the same fresh SQLite database crash each other.
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _origin(uri: str, storage: str) -> str:
    """Names a storage in MLflow; one whose folder holds the database stays the same where both are moved."""
    path = sqlite_path(uri)
    return _OWN_DATABASE if path is not None and str(path.parent) == storage else storage


def _experiment(client: MlflowClient, uri: str, storage: str, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(
                client.create_experiment(name, artifact_location=_artifact_location(uri, storage, name))
            )
        except Exception:
            experiment = client.get_experiment_by_name(name)  # another driver may have made it just now
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _tag_experiment(client: MlflowClient, experiment_id: str, name: str) -> None:
    # What a person wrote there meanwhile stays.
    known = client.get_experiment(experiment_id).tags
    for tag, value in experiment_tags(name).items():
        if tag not in known:
            client.set_experiment_tag(experiment_id, tag, value)


def _artifact_location(uri: str, storage: str, name: str) -> str | None:
    if re.match(r"https?://|databricks", uri):
        return None  # the server knows
    path, folder = sqlite_path(uri), re.sub(r"[^\w.-]+", "_", name) or "_"
    if path is None and is_url(storage):
        return f"{storage}/mlartifacts/{folder}"
    return ((path.parent if path else Path(storage)) / "mlartifacts" / folder).as_uri()


def _parent_run(
    client: MlflowClient, experiment_id: str, name: str, origin: str, settings: Mapping[str, Any]
) -> str:
    runs = _parents(client, experiment_id)
    if runs:
        client.update_run(runs[0].info.run_id, status="RUNNING")
        if runs[0].data.tags.get(STORAGE_TAG, origin) != origin:
            client.set_tag(runs[0].info.run_id, STORAGE_TAG, SEVERAL)
    else:
        tags = {SWEEP_TAG: name, PARENT_TAG: "true", STORAGE_TAG: origin, "mlflow.source.name": "dwp_sweep"}
        client.create_run(experiment_id, tags=tags, run_name=f"sweep {name}")
        # Another driver may have made one just now: both take the same.
        runs = _parents(client, experiment_id)
    run_id, *doubles = (str(run.info.run_id) for run in runs)
    for double in doubles:  # also of a request that MLflow obeyed but whose answer was lost
        client.delete_run(double)
    client.log_text(run_id, json.dumps(settings, indent=1, default=str), SETTINGS_FILE)
    client.log_text(run_id, json.dumps(run_environment(), indent=1), ENVIRONMENT_FILE)
    return run_id


def _parents(client: MlflowClient, experiment_id: str) -> list[Run]:
    """Parent runs that are not deleted, oldest first."""
    return list(
        client.search_runs(
            [experiment_id],
            f"tags.`{PARENT_TAG}` = 'true'",
            max_results=20,
            order_by=["attributes.start_time ASC"],
        )
    )
