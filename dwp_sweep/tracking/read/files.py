"""Files and test scores of finished nodes: from the store where it has them, else from MLflow's artifacts.

What a report reads beyond a run's numbers. A file that is not there is None, not an error: nodes that an
older version built lack what newer ones write.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.errors import CorruptArtifactError, InputError, Problem
from dwp_sweep.tracking.client import one_line
from dwp_sweep.tracking.read.runs import open_reader

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from dwp_sweep.store.protocol import Store
    from dwp_sweep.tracking.read.rows import NodeRow


SCORES_FILE = "test_scores.json"
SubjectScores = Mapping[str, Mapping[str, Any]]
"""Subject -> name of a score -> value."""


class NodeFiles:
    """Fetches files of nodes into a folder of its own.

    Args:
        store: Read first; None: only MLflow is read.
        tracking_uri: As for `tracking.results`.
        folder: Where fetched files are kept; None makes one that goes with this object.
    """

    def __init__(self, store: Store | None, tracking_uri: str | None, folder: Path | None = None) -> None:
        self._store, self._uri = store, tracking_uri
        self._own = tempfile.TemporaryDirectory() if folder is None else None
        self._folder = Path(self._own.name) if self._own is not None else Path(folder or ".")
        self._client: MlflowClient | None = None
        self._listed: dict[str, frozenset[str]] = {}

    def path(self, row: NodeRow, name: str) -> Path | None:
        """A node's file on this machine; None where neither place has it.

        Args:
            row: The node.
            name: Path of the file inside its folder, e.g. ``figures/learning_curve.png``.
        """
        kept = self._kept(row, name)
        if kept is not None:
            return kept
        if not row.run_id or name not in self._names(row.run_id, name.rpartition("/")[0]):
            return None
        return self._fetched(row.run_id, name)

    def _kept(self, row: NodeRow, name: str) -> Path | None:
        if self._store is None or not row.key:
            return None
        try:
            return self._store.fetch_file(row.stage, row.key, name)
        except CorruptArtifactError:
            return None  # MLflow's copy may be sound

    def folder(self, row: NodeRow, names: tuple[str, ...]) -> Path | None:
        """A folder that holds all of some files of a node, side by side; None where one is missing."""
        paths = [self.path(row, name) for name in names]
        folders = {path.parent for path in paths if path is not None}
        return folders.pop() if None not in paths and len(folders) == 1 else None

    def _fetched(self, run_id: str, name: str) -> Path | None:
        place = self._folder / run_id / name
        if place.is_file():
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetched = Path(self._mlflow().download_artifacts(run_id, name, str(place.parent)))
        except Exception:  # MLflow's own kinds: a file that is listed and cannot be had is missing
            return None
        # Artifact stores differ in whether a file keeps its folder when it is fetched alone.
        return fetched if fetched == place else fetched.replace(place)

    def _names(self, run_id: str, folder: str) -> frozenset[str]:
        listed = f"{run_id}/{folder}"
        if listed not in self._listed:
            try:
                items = self._mlflow().list_artifacts(run_id, folder or None)
            except Exception:  # as in _fetched
                items = []
            self._listed[listed] = frozenset(item.path for item in items)
        return self._listed[listed]

    def _mlflow(self) -> MlflowClient:
        if self._client is None:
            self._client, _ = open_reader(self._uri)
        return self._client


class ScoreReader:
    """Reads the scores of one target after another.

    Args:
        store: Read first; None: only MLflow is read.
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
