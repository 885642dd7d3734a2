"""A sweep's experiment and parent run in MLflow: opened before its nodes, described and ended after them.

The driver calls `open_tracking` before any worker starts, and hands the plain `Tracking` on. Nothing here
raises what MLflow raises: a sweep never ends by it. `read.runs` reads the parent run back.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from dwp_sweep.config.variants import asked_keys
from dwp_sweep.errors import DwpSweepError
from dwp_sweep.store.open_store import folder_of
from dwp_sweep.tracking.client import (
    mlflow_client,
    one_line,
    resolve_uri,
    shown_uri,
    sqlite_path,
    storage_name,
)
from dwp_sweep.tracking.mlflow_format import (
    ASKED_TAG,
    ENVIRONMENT_FILE,
    NOTE_TAG,
    OBJECTIVES_TAG,
    PARENT_TAG,
    REPORT_FOLDER,
    SETTINGS_FILE,
    SEVERAL,
    SHARES_TAG,
    STORAGE_TAG,
    SWEEP_TAG,
)
from dwp_sweep.tracking.read.runs import parent_runs
from dwp_sweep.tracking.write.pages import experiment_tags, is_own_tag, run_environment, targets_page
from dwp_sweep.tracking.write.privacy import OPEN, Privacy, privacy_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
_PATIENCE_S = 30.0
_NOTE_CHARS = 7_500
"""MLflow takes tags of up to 8,000 bytes."""


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
        privacy: What must not be logged.
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
    privacy: Privacy = OPEN


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
    storage = str(folder_of(storage) or storage)
    uri = resolve_uri(uri, storage)
    now, privacy = time.time(), privacy_of(settings, storage)
    try:
        with _one_at_a_time(uri):
            client = mlflow_client(uri)
            experiment_id = _experiment(client, uri, storage, sweep_name)
            known = client.get_experiment(experiment_id).tags
            for tag, value in experiment_tags(sweep_name, asked_keys(settings)).items():
                # A person may have changed it.
                if tag not in known or (known[tag] != value and is_own_tag(sweep_name, tag, known[tag])):
                    client.set_experiment_tag(experiment_id, tag, value)
        origin = storage_name(uri, storage)
        parent = _parent_run(client, experiment_id, sweep_name, origin, settings, privacy)
    except Exception as error:  # whatever MLflow raises, the sweep must go on without it
        problem = (
            f"MLflow at {shown_uri(uri)} cannot be used: {one_line(error)}. "
            f"Going on with the records under {storage}; the same command sends them once MLflow answers."
        )
        return Tracking(uri, "", "", False, problem, sweep_name, storage, settings, now, privacy)
    return Tracking(uri, experiment_id, parent, True, None, sweep_name, storage, settings, now, privacy)


def reopen(tracking: Tracking) -> Tracking:
    """Try again where MLflow was not there a while ago; at once after a failure it stays as it is."""
    if tracking.online or time.time() - tracking.opened_s < _PATIENCE_S:
        return tracking
    return open_tracking(tracking.uri, tracking.storage, tracking.sweep_name, tracking.settings)


def rejoin(tracking: Tracking) -> Tracking:
    """The experiment and parent run that the driver has opened since MLflow was away; for workers.

    Raises:
        DwpSweepError: The driver has not opened them yet; where MLflow does not answer, its own errors.
    """
    with _one_at_a_time(tracking.uri):
        client = mlflow_client(tracking.uri)
        experiment = client.get_experiment_by_name(tracking.sweep_name)
    runs = parent_runs(client, str(experiment.experiment_id)) if experiment is not None else []
    if experiment is None or not runs:
        raise DwpSweepError(f"sweep {tracking.sweep_name} is not there yet: its driver opens it")
    return replace(
        tracking,
        online=True,
        problem=None,
        experiment_id=str(experiment.experiment_id),
        parent_run_id=str(runs[0].info.run_id),
    )


def close_tracking(tracking: Tracking, status: str) -> None:
    """End the parent run with MLflow's ``FINISHED``, ``FAILED`` or ``KILLED``. Never raises."""
    _send(tracking, "the end", lambda client: client.set_terminated(tracking.parent_run_id, status))


def log_facts(
    tracking: Tracking, objectives: Sequence[str], shares: Mapping[str, tuple[float, float]]
) -> None:
    """Tag the parent run with objectives and with the (CPUs, GPUs) of its target nodes. Never raises."""
    tags = {OBJECTIVES_TAG: ",".join(objectives)} if objectives else {}
    tags |= {SHARES_TAG: json.dumps(shares["target"])} if "target" in shares else {}

    def send(client: MlflowClient) -> None:
        for name, value in tags.items():
            client.set_tag(tracking.parent_run_id, name, value)

    _send(tracking, "the facts", send)


def log_parent_files(tracking: Tracking, files: Mapping[str, Path]) -> None:
    """Attach files to the parent run: place there -> file. Never raises."""

    def send(client: MlflowClient) -> None:
        for place, path in files.items():
            folder = Path(place).parent.as_posix()
            client.log_artifact(tracking.parent_run_id, str(path), None if folder == "." else folder)

    _send(tracking, "the figures", send)


def log_report(tracking: Tracking, folder: Path) -> str:
    """Add the files of a report to the parent run, under ``report``. Never raises.

    Returns:
        What went wrong, in one line; empty where nothing did.
    """
    return _send(
        tracking,
        "the report",
        lambda client: client.log_artifacts(tracking.parent_run_id, str(folder), REPORT_FOLDER),
    )


def describe_parent(tracking: Tracking, tables: str) -> None:
    """Write the sweep's tables where MLflow's page of the parent run shows its description. Never raises.

    Args:
        tracking: Of the sweep.
        tables: In Markdown.
    """
    link = f"[Target networks with their settings and scores]({targets_page(tracking.experiment_id)[1:]})"
    text = f"{link}. Page, figures and tables: artifacts, `{REPORT_FOLDER}`.\n\n{tables}"[:_NOTE_CHARS]
    _send(tracking, "the tables", lambda client: client.set_tag(tracking.parent_run_id, NOTE_TAG, text))


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    # Two processes that make the same fresh SQLite database crash each other.
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), fallback_to_soft=False):
        yield


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


def _artifact_location(uri: str, storage: str, name: str) -> str | None:
    if re.match(r"https?://|databricks", uri):
        return None  # the server knows
    path, folder = sqlite_path(uri), re.sub(r"[^\w.-]+", "_", name) or "_"
    root = path.parent if path else folder_of(storage)
    return f"{storage}/mlartifacts/{folder}" if root is None else (root / "mlartifacts" / folder).as_uri()


def _parent_run(
    client: MlflowClient,
    experiment_id: str,
    name: str,
    origin: str,
    settings: Mapping[str, Any],
    privacy: Privacy,
) -> str:
    runs = parent_runs(client, experiment_id)
    if runs:
        client.update_run(runs[0].info.run_id, status="RUNNING")
        if runs[0].data.tags.get(STORAGE_TAG, origin) != origin:
            client.set_tag(runs[0].info.run_id, STORAGE_TAG, SEVERAL)
    else:
        tags = {SWEEP_TAG: name, PARENT_TAG: "true", STORAGE_TAG: origin, "mlflow.source.name": "dwp_sweep"}
        client.create_run(experiment_id, tags=tags, run_name=f"sweep {name}")
        # Another driver may have made one just now: both take the same.
        runs = parent_runs(client, experiment_id)
    run_id, *doubles = (str(run.info.run_id) for run in runs)
    for double in doubles:  # also of a request that MLflow obeyed but whose answer was lost
        client.delete_run(double)
    client.set_tag(run_id, ASKED_TAG, json.dumps(asked_keys(settings)))
    client.log_text(run_id, json.dumps(privacy.values(settings), indent=1, default=str), SETTINGS_FILE)
    environment = run_environment()
    if not privacy.is_open:
        environment.pop("command", None)  # it may name folders
    client.log_text(run_id, json.dumps(environment, indent=1), ENVIRONMENT_FILE)
    return run_id


def _send(tracking: Tracking, what: str, send: Callable[[MlflowClient], object]) -> str:
    """Send something of the sweep; returns what went wrong, in one line.

    The storage has all of it, and a sweep never ends by what only MLflow's pages need.
    """
    if not tracking.online:
        return "MLflow is not there"
    try:
        send(mlflow_client(tracking.uri))
    except Exception as error:  # MLflow's own kinds
        log.warning("MLflow did not take %s of sweep %s: %s", what, tracking.sweep_name, one_line(error))
        return one_line(error)
    return ""
