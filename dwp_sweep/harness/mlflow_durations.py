"""Durations of nodes that only MLflow remembers: built on another storage, or removed from this one since.

Asked where the storage knows nothing of some node's size. Where MLflow fails, an estimate goes on without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.harness.past_runs import PastRuns
from dwp_sweep.tracking.client import mlflow_client, one_line, resolve_uri, sqlite_path
from dwp_sweep.tracking.params import decode, unflatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_N_READ = 400
"""Newest runs that are read of each stage."""


def add_from_mlflow(past: PastRuns, stages: Iterable[str], uri: str | None, storage: Path) -> None:
    """Take in what finished runs of some stages took, of whatever sweep; nothing where MLflow is not there.

    Args:
        past: Takes it in.
        stages: Which ones.
        uri: Tracking URI; None: ``MLFLOW_TRACKING_URI``, else the database under the storage, if any.
        storage: The storage folder.
    """
    found = resolve_uri(uri, storage)
    path = sqlite_path(found)
    if path is not None and not path.is_file():
        return  # MLflow would make an empty database
    try:
        client = mlflow_client(found)
        experiments = [one.experiment_id for one in client.search_experiments()]
        for stage in stages:
            _add_stage(past, stage, client, experiments)
    except Exception as error:  # many kinds of errors, one meaning: it knows nothing
        log.info("MLflow tells no durations: %s", one_line(error))


def has_mlflow(uri: str | None, storage: Path) -> bool:
    """Whether there is an MLflow to ask, without asking it."""
    return bool(uri or os.environ.get("MLFLOW_TRACKING_URI")) or (storage / "mlflow.db").is_file()


def _add_stage(past: PastRuns, stage: str, client: MlflowClient, experiments: list[str]) -> None:
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
            past.add_logged(stage, unflatten(params), float(wall_s))
