"""Files of finished nodes, one by one: from the store where it has them, else from MLflow's artifacts.

What a report reads beyond a run's numbers. A file that is not there is None, not an error: nodes that an
older version built lack what newer ones write. Knows nothing of what the files hold.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.tracking.runs import open_reader

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from dwp_sweep.store.store import Store
    from dwp_sweep.tracking.rows import NodeRow


class NodeFiles:
    """Fetches files of nodes into a folder of its own.

    Args:
        store: Asked first; None asks MLflow alone.
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
        found = {path.parent for path in paths if path is not None}
        return found.pop() if None not in paths and len(found) == 1 else None

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
