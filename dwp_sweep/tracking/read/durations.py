"""Durations of nodes that MLflow remembers: built on another storage, or removed from this one since.

For estimates of what a sweep will cost. Estimates do without them where MLflow fails.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dwp_sweep.tracking.client import mlflow_client, one_line, resolve_uri, sqlite_path
from dwp_sweep.tracking.mlflow_format import decode, unflatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_N_READ = 400
"""Newest runs that are read of each stage."""


class LoggedDuration(NamedTuple):
    """What a finished run took: its stage, its settings as logged, and the seconds."""

    stage: str
    settings: Mapping[str, Any]
    wall_s: float


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


def _of_stage(stage: str, client: MlflowClient, experiments: list[str]) -> Iterator[LoggedDuration]:
    runs = client.search_runs(
        experiments,
        f"tags.`dwp.stage` = '{stage}' and attributes.status = 'FINISHED'",
        max_results=_N_READ,
        order_by=["attributes.start_time DESC"],
    )
    for run in runs:
        wall_s = run.data.metrics.get("wall_s")
        if wall_s is not None:
            params = {name: decode(text) for name, text in run.data.params.items()}
            yield LoggedDuration(stage, unflatten(params), float(wall_s))
