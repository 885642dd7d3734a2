"""Runs in MLflow through its public interface: a sweep's nodes, its parent run, curves by epoch, durations.

Every reader opens its client here. Where there is nothing, the error says what there is instead. A sweep has
no parent run where its nodes were logged by hand.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dwp_sweep.errors import CorruptArtifactError, InputError, Problem
from dwp_sweep.store.record import UNREADABLE
from dwp_sweep.store.sweep_record import unknown_sweep
from dwp_sweep.strict import json_of
from dwp_sweep.tracking.client import mlflow_client, one_line, resolve_uri, shown_uri, sqlite_path
from dwp_sweep.tracking.mlflow_format import (
    ASKED_TAG,
    ENVIRONMENT_FILE,
    KEY_TAG,
    OBJECTIVES_TAG,
    PARENT_TAG,
    SETTINGS_FILE,
    SHARES_TAG,
    SWEEP_TAG,
    decode,
    unflatten,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

DEFAULT_STORAGE = Path("dwp_runs")
_PAGE = 1_000
_N_DURATIONS = 400
"""Newest runs whose durations are read of each stage."""
Curve = tuple[tuple[int, float], ...]
"""(epoch, value), epochs rising."""


@dataclass(frozen=True)
class ParentFacts:
    """What the tags of a parent run say.

    Attributes:
        run_id: Of the parent run; empty where there is none.
        objectives: Metrics that were searched for; none where nothing was.
        cpu: CPUs of a target node.
        gpu: Its share of a GPU.
        has_shares: Whether they are known.
        asked: Dotted keys that the sweep asks about: axes of its grid, and what it searches for.
    """

    run_id: str = ""
    objectives: tuple[str, ...] = ()
    cpu: float = 1.0
    gpu: float = 1.0
    has_shares: bool = False
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parent:
    """What the files and times of a parent run say; all empty where there is none.

    Attributes:
        run_id: Of the run.
        settings: The resolved search space: ``file``, ``fixed``, ``grid``.
        environment: Versions, commit and command line of the last start.
        started_ms: Unix time of the first start; 0 where unknown.
    """

    run_id: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    started_ms: int = 0


class LoggedDuration(NamedTuple):
    """What a finished run took: its stage, its settings as logged, and the seconds."""

    stage: str
    settings: Mapping[str, Any]
    wall_s: float


def open_reader(tracking_uri: str | None) -> tuple[MlflowClient, str]:
    """A client to read with, and its URI.

    Args:
        tracking_uri: None takes ``MLFLOW_TRACKING_URI``, else the database under ``./dwp_runs``.

    Raises:
        InputError: The database is not there, or the server does not answer.
    """
    uri = resolve_uri(tracking_uri, DEFAULT_STORAGE)
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        # MLflow would make an empty database here and find nothing in it.
        raise InputError(
            Problem(str(path), "no MLflow database there", "name --storage or --tracking-uri of the run")
        )
    try:
        client = mlflow_client(uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # many kinds of errors, one meaning
        raise InputError(Problem(shown_uri(uri), f"MLflow does not answer: {one_line(error)}")) from error
    return client, uri


def sweep_runs(client: MlflowClient, uri: str, sweep: str) -> list[Run]:
    """All node runs of a sweep, oldest first, the parent run left out.

    Raises:
        InputError: No such sweep; lists those that exist.
    """
    experiment = client.get_experiment_by_name(sweep)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        known = [e.name for e in client.search_experiments() if e.name != "Default"]
        raise InputError(unknown_sweep(shown_uri(uri), sweep, known, "no sweep was logged there yet"))
    runs = search_all(client, experiment.experiment_id)
    own = [run for run in runs if run.data.tags.get(SWEEP_TAG, sweep) == sweep]
    return sorted(
        (run for run in own if run.data.tags.get(PARENT_TAG) != "true"),
        key=lambda run: int(run.info.start_time),
    )


def search_all(client: MlflowClient, experiment_id: str, condition: str = "") -> list[Run]:
    """Every run of an experiment that is not deleted, page by page: about 5 s for a thousand of ours.

    Args:
        client: Of MLflow.
        experiment_id: Of the experiment.
        condition: A filter in MLflow's language; empty for all.
    """
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], condition, max_results=_PAGE, page_token=token)
        runs += page
        if not page.token or page.token == token:  # a server that repeats a page would do so for ever
            return runs
        token = page.token


def find_runs(client: MlflowClient, experiment_id: str, key: str) -> list[Run]:
    """Runs of a node that are not deleted, oldest first; more than one only after two drivers raced."""
    return _oldest_first(client, experiment_id, f"tags.`{KEY_TAG}` = '{key}'")


def parent_runs(client: MlflowClient, experiment_id: str) -> list[Run]:
    """Parent runs that are not deleted, oldest first; more than one only after two drivers raced."""
    return _oldest_first(client, experiment_id, f"tags.`{PARENT_TAG}` = 'true'")


def parent_run(client: MlflowClient, sweep: str) -> Run | None:
    """The parent run of a sweep, the first one where there are several; None where there is none."""
    experiment = client.get_experiment_by_name(sweep)
    runs = [] if experiment is None else parent_runs(client, experiment.experiment_id)
    return runs[0] if runs else None


def parent_facts(client: MlflowClient, sweep: str) -> ParentFacts:
    """The facts of a sweep; empty ones where it has no parent run."""
    run = parent_run(client, sweep)
    if run is None:
        return ParentFacts()
    tags = run.data.tags
    objectives = tuple(name for name in tags.get(OBJECTIVES_TAG, "").split(",") if name)
    try:
        cpu, gpu = (float(value) for value in json_of(tags[SHARES_TAG]))
    except UNREADABLE:
        return ParentFacts(str(run.info.run_id), objectives, asked=_asked(tags))
    return ParentFacts(str(run.info.run_id), objectives, cpu, gpu, True, _asked(tags))


def _asked(tags: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return tuple(str(key) for key in json_of(tags.get(ASKED_TAG, "[]")))
    except UNREADABLE:
        return ()


def parent_text(client: MlflowClient, sweep: str, place: str) -> str | None:
    """A text file of the parent run; None where there is none."""
    run = parent_run(client, sweep)
    return None if run is None else _text(client, str(run.info.run_id), place)


def fetch_file(client: MlflowClient, run_id: str, file: str, place: Path) -> Path:
    """Download one file of a run to a place of this machine, and return that place.

    Raises:
        CorruptArtifactError: It is a folder: MLflow would fetch all below it, which in a loop has no end.
    """
    if client.list_artifacts(run_id, file):
        raise CorruptArtifactError(f"run {run_id} lists {file} as a file and as a folder")
    # Artifact stores differ in whether a file keeps its folder when it is fetched alone.
    with tempfile.TemporaryDirectory() as beside:
        fetched = client.download_artifacts(run_id, file, beside)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(fetched, place)
    return place


def read_parent(sweep: str, tracking_uri: str | None) -> Parent:
    """The parent run of a sweep; an empty one where runs were made without.

    Raises:
        InputError: No MLflow there.
    """
    client, _ = open_reader(tracking_uri)
    run = parent_run(client, sweep)
    if run is None:
        return Parent()
    run_id = str(run.info.run_id)
    return Parent(
        run_id=run_id,
        settings=_json(client, run_id, SETTINGS_FILE),
        environment={k: str(v) for k, v in _json(client, run_id, ENVIRONMENT_FILE).items()},
        started_ms=int(run.info.start_time or 0),
    )


class HistoryReader:
    """Reads curves of one run after another through one client.

    Args:
        tracking_uri: As for `tracking.results`.
    """

    def __init__(self, tracking_uri: str | None) -> None:
        self._client, _ = open_reader(tracking_uri)

    def curve(self, run_id: str, names: Sequence[str]) -> Curve:
        """The first of some metrics that a run has.

        Args:
            run_id: MLflow run id; empty gives an empty curve.
            names: In order of preference.
        """
        if not run_id:
            return ()
        for name in names:
            try:
                points = self._client.get_metric_history(run_id, name)
            except Exception:  # a run that is gone has no curve; the report says which are shown
                return ()
            if points:
                # A continued node may have sent an epoch twice: the later one counts.
                by_step = {
                    int(point.step): float(point.value) for point in sorted(points, key=lambda p: p.timestamp)
                }
                return tuple(sorted(by_step.items()))
        return ()


def logged_durations(stages: Iterable[str], uri: str | None, storage: str | Path) -> list[LoggedDuration]:
    """What finished runs of some stages took, of whatever sweep; nothing where MLflow is not there.

    Args:
        stages: Which ones.
        uri: Tracking URI; None: ``MLFLOW_TRACKING_URI``, else the database under the storage, if any.
        storage: The storage folder.
    """
    uri = resolve_uri(uri, storage)
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        return []  # MLflow would make an empty database
    try:
        client = mlflow_client(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return [duration for stage in stages for duration in _of_stage(stage, client, experiments)]
    except Exception as error:  # many kinds of errors, one meaning
        log.info("MLflow tells no durations: %s", one_line(error))
        return []


def has_mlflow(uri: str | None, storage: str | Path) -> bool:
    """Whether there is an MLflow to ask, without asking it."""
    return bool(uri or os.environ.get("MLFLOW_TRACKING_URI")) or (Path(storage) / "mlflow.db").is_file()


def _oldest_first(client: MlflowClient, experiment_id: str, condition: str) -> list[Run]:
    order = ["attributes.start_time ASC"]
    return list(client.search_runs([experiment_id], condition, max_results=20, order_by=order))


def _text(client: MlflowClient, run_id: str, place: str) -> str | None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            return fetch_file(client, run_id, place, Path(folder) / "file").read_text()
    except Exception:  # MLflow's own kinds: it has no such file
        return None


def _json(client: MlflowClient, run_id: str, name: str) -> dict[str, Any]:
    try:
        values = json_of(_text(client, run_id, name) or "")
    except ValueError:  # a lost file of an old run must not cost the whole report
        return {}
    return values if isinstance(values, dict) else {}


def _of_stage(stage: str, client: MlflowClient, experiments: list[str]) -> Iterator[LoggedDuration]:
    runs = client.search_runs(
        experiments,
        f"tags.`dwp.stage` = '{stage}' and attributes.status = 'FINISHED'",
        max_results=_N_DURATIONS,
        order_by=["attributes.start_time DESC"],
    )
    for run in runs:
        wall_s = run.data.metrics.get("wall_s")
        if wall_s is not None and 0.0 <= wall_s < math.inf:
            params = {name: decode(text) for name, text in run.data.params.items()}
            yield LoggedDuration(stage, unflatten(params), float(wall_s))
