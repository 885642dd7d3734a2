"""Per-subject test scores of target runs: from the store where it has them, else from MLflow's artifacts.

What paired comparisons need beyond a run's means. Nodes are found by their keys, so a store that another
sweep filled serves as well.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.tracking.client import one_line
from dwp_sweep.tracking.runs import open_reader

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from dwp_sweep.store.store import Store

SCORES_FILE = "test_scores.json"
SubjectScores = Mapping[str, Mapping[str, Any]]
"""Subject -> name of a score -> value."""


class ScoreReader:
    """Reads the scores of one target after another.

    Args:
        store: Asked first; None asks MLflow alone.
        tracking_uri: As for `tracking.results`.
    """

    def __init__(self, store: Store | None, tracking_uri: str | None) -> None:
        self._store, self._uri = store, tracking_uri
        self._client: MlflowClient | None = None
        self._known: dict[str, SubjectScores] = {}

    def read(self, key: str, run_id: str) -> SubjectScores:
        """The scores of one target.

        Args:
            key: Of its node; may be empty.
            run_id: Of its MLflow run; may be empty.

        Raises:
            InputError: Neither place has them, or MLflow does not answer.
        """
        name = key or run_id
        if name not in self._known:
            self._known[name] = _parsed(self._text(key, run_id), name)
        return self._known[name]

    def _text(self, key: str, run_id: str) -> str:
        path = self._store.fetch_file("target", key, SCORES_FILE) if self._store is not None and key else None
        if path is not None:
            return path.read_text()
        if not run_id:
            raise InputError(Problem(f"target {key}", f"has no {SCORES_FILE} in the store", "run it again"))
        return self._artifact(run_id)

    def _artifact(self, run_id: str) -> str:
        if self._client is None:
            self._client, _ = open_reader(self._uri)
        try:
            with tempfile.TemporaryDirectory() as folder:
                return Path(self._client.download_artifacts(run_id, SCORES_FILE, folder)).read_text()
        except Exception as error:  # MLflow's own kinds; the message says it
            what = f"its {SCORES_FILE} cannot be fetched: {one_line(error)}"
            raise InputError(
                Problem(f"run {run_id}", what, "name the --storage that has its node")
            ) from error


def _parsed(text: str, name: str) -> SubjectScores:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(Problem(f"target {name}", f"{SCORES_FILE} is no JSON: {error}")) from None
    if not isinstance(values, dict) or not all(isinstance(scores, dict) for scores in values.values()):
        raise InputError(Problem(f"target {name}", f"{SCORES_FILE} does not map subjects to scores"))
    return values
