"""Runs of a sweep and their curves by epoch, read from MLflow through its public interface.

Every reader opens its client here. Where there is nothing, the error says what there is instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.errors import InputError, Problem, did_you_mean
from dwp_sweep.tracking.client import mlflow_client, one_line, resolve_uri, shown_uri, sqlite_path
from dwp_sweep.tracking.tags import KEY_TAG, PARENT_TAG, SWEEP_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


DEFAULT_STORAGE = Path("dwp_runs")
_PAGE = 1_000

Curve = tuple[tuple[int, float], ...]
"""(epoch, value), epochs rising."""


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
        there = "sweeps there: " + ", ".join(sorted(known)) if known else "no sweep was logged there yet"
        fix = f"{did_you_mean(sweep, known)} {there}".strip()
        raise InputError(Problem(shown_uri(uri), f"no sweep named {sweep!r}", fix))
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
        token = page.token
        if not token:
            return runs


def find_runs(client: MlflowClient, experiment_id: str, key: str) -> list[Run]:
    """Runs of a node that are not deleted, oldest first; more than one only after two drivers raced."""
    return list(
        client.search_runs(
            [experiment_id],
            f"tags.`{KEY_TAG}` = '{key}'",
            max_results=20,
            order_by=["attributes.start_time ASC"],
        )
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
                    int(one.step): float(one.value) for one in sorted(points, key=lambda p: p.timestamp)
                }
                return tuple(sorted(by_step.items()))
        return ()
