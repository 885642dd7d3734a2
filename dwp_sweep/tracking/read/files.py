"""Files of finished nodes: from the store where it has them, else from MLflow's artifacts.

`NodeFiles` and `ScoreReader` read what a report shows beyond a run's numbers. `load_model` and `load_prior`
are the end of the pipeline for a program: a network that is ready to predict, by run id. Only safetensors and
JSON are read; nothing is unpickled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dwp_sweep.errors import CorruptArtifactError, InputError, Problem
from dwp_sweep.store.record import is_inside
from dwp_sweep.strict import json_of
from dwp_sweep.tracking.client import one_line
from dwp_sweep.tracking.read.runs import fetch_file, open_reader

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import nn

    from dwp_sweep.nets.kernel_prior import KernelPrior
    from dwp_sweep.store.protocol import Store
    from dwp_sweep.tracking.read.rows import NodeRow


SCORES_FILE = "test_scores.json"
SubjectScores = Mapping[str, Mapping[str, Any]]
"""Subject -> name of a score -> value."""
_MOST_LISTED, _DEEPEST = 10_000, 20
"""Files and levels of folders of a run; a server that lists more has a loop, or is hostile."""
_NET, _PRIOR = ("net.json", "net.safetensors"), ("prior.json", "prior.safetensors")


class NodeFiles:
    """Fetches files of nodes into a folder of its own.

    A file that is not there is None, not an error: nodes that an older version built lack files.

    Args:
        store: Read first; None: only MLflow is read.
        tracking_uri: As for `results`.
        folder: Where fetched files are kept; None makes one that goes with this object.
    """

    def __init__(self, store: Store | None, tracking_uri: str | None, folder: Path | None = None) -> None:
        self._store, self._uri = store, tracking_uri
        self._own = tempfile.TemporaryDirectory() if folder is None else None
        self._folder = Path(self._own.name) if self._own is not None else Path(folder or ".")
        self._listed: dict[str, frozenset[str]] = {}

    def path(self, row: NodeRow, name: str) -> Path | None:
        """A node's file on this machine; None where neither place has it.

        Args:
            row: The node.
            name: Path of the file inside its folder, e.g. ``figures/learning_curve.png``.
        """
        if self._store is not None and row.key:
            try:
                kept = self._store.fetch_file(row.stage, row.key, name)
            except CorruptArtifactError:
                kept = None  # MLflow's copy may be sound
            if kept is not None:
                return kept
        if not row.run_id or name not in self._names(row.run_id, name.rpartition("/")[0]):
            return None
        place = self._folder / row.run_id / name
        try:
            return place if place.is_file() else fetch_file(self._client, row.run_id, name, place)
        except Exception:  # MLflow's own kinds: a file that is listed and cannot be had is missing
            return None

    def folder(self, row: NodeRow, names: tuple[str, ...]) -> Path | None:
        """A folder that holds all of some files of a node, side by side; None where one is missing."""
        paths = [self.path(row, name) for name in names]
        folders = {path.parent for path in paths if path is not None}
        return folders.pop() if None not in paths and len(folders) == 1 else None

    def _names(self, run_id: str, folder: str) -> frozenset[str]:
        listed = f"{run_id}/{folder}"
        if listed not in self._listed:
            try:
                items = self._client.list_artifacts(run_id, folder or None)
            except Exception:  # as in `path`
                items = []
            self._listed[listed] = frozenset(item.path for item in items)
        return self._listed[listed]

    @cached_property
    def _client(self) -> MlflowClient:
        return open_reader(self._uri)[0]


class ScoreReader:
    """Reads the scores of one target after another.

    Args:
        store: Read first; None: only MLflow is read.
        tracking_uri: As for `results`.
    """

    def __init__(self, store: Store | None, tracking_uri: str | None) -> None:
        self._store, self._uri = store, tracking_uri
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
        stages = ("target", "ensemble") if self._store is not None and key else ()
        found = (self._store.fetch_file(stage, key, SCORES_FILE) for stage in stages if self._store)
        path = next((place for place in found if place is not None), None)
        if path is not None:
            return path.read_text()
        if not run_id:
            raise InputError(Problem(f"target {key}", f"has no {SCORES_FILE} in the store", "run it again"))
        client = self._client
        try:
            with tempfile.TemporaryDirectory() as folder:
                return fetch_file(client, run_id, SCORES_FILE, Path(folder) / SCORES_FILE).read_text()
        except Exception as error:  # MLflow's own kinds; the message says it
            what = f"its {SCORES_FILE} cannot be fetched: {one_line(error)}"
            raise InputError(
                Problem(f"run {run_id}", what, "name the --storage that has its node")
            ) from error

    @cached_property
    def _client(self) -> MlflowClient:
        return open_reader(self._uri)[0]


def load_model(run_id: str, tracking_uri: str | None = None, path: str | None = None) -> nn.Module:
    """The network of a target run (or a source run), in evaluation mode.

    Args:
        run_id: MLflow run id.
        tracking_uri: None takes ``MLFLOW_TRACKING_URI``, else the database under ``./dwp_runs``.
        path: Folder within the run's artifacts; needed where a run holds several networks, such as
            ``cycle0`` and ``cycle1`` of a source run.

    Raises:
        InputError: No such run, no network in it, or several.
    """
    from dwp_sweep.nets.net_files import load_net

    with tempfile.TemporaryDirectory() as folder:
        return load_net(_fetch(run_id, tracking_uri, path, _NET, "network", Path(folder)))


def load_prior(run_id: str, tracking_uri: str | None = None) -> KernelPrior:
    """The kernel prior of a prior run; ``sample`` draws kernels from it.

    Raises:
        InputError: No such run, or no prior in it.
    """
    from dwp_sweep.nets.kernel_prior import load_prior as load_prior_folder

    with tempfile.TemporaryDirectory() as folder:
        return load_prior_folder(_fetch(run_id, tracking_uri, None, _PRIOR, "kernel prior", Path(folder)))


def download_outputs(
    run_id: str, folder: Path, tracking_uri: str | None = None, names: Collection[str] = ()
) -> Path:
    """Files of a run into ``folder``, made if missing.

    Args:
        run_id: MLflow run id.
        folder: Where they go, in the run's own folders.
        tracking_uri: As for `load_model`.
        names: Of the files that are wanted, in whatever folder of the run; empty: all.

    Raises:
        InputError: No such run.
        CorruptArtifactError: A file's name leads out of the folder, or the run lists files without end.
    """
    client, _ = open_reader(tracking_uri)
    files = _files(client, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not names or PurePosixPath(file).name in names:
            fetch_file(client, run_id, file, folder / file)
    return folder


def _parsed(text: str, name: str) -> SubjectScores:
    try:
        values = json_of(text)
    except ValueError as error:
        raise InputError(Problem(f"target {name}", f"{SCORES_FILE} is no JSON: {error}")) from None
    if not isinstance(values, dict) or not all(isinstance(scores, dict) for scores in values.values()):
        raise InputError(Problem(f"target {name}", f"{SCORES_FILE} does not map subjects to scores"))
    return values


def _fetch(
    run_id: str, tracking_uri: str | None, path: str | None, names: tuple[str, ...], what: str, folder: Path
) -> Path:
    """The one folder of a run that holds some files, fetched.

    Args:
        run_id: MLflow run id.
        tracking_uri: As for `load_model`.
        path: As for `load_model`.
        names: The files; the first of them identifies the folder.
        what: What they are, for people.
        folder: Where to fetch them.
    """
    client, _ = open_reader(tracking_uri)
    files = _files(client, run_id)
    places = [PurePosixPath(file).parent for file in files if PurePosixPath(file).name == names[0]]
    if path is not None:
        places = [place for place in places if place == PurePosixPath(path)]
    if not places:
        fix = f"files there: {', '.join(files) or 'none'}"
        raise InputError(Problem(f"run {run_id}", f"holds no {what}", fix))
    if len(places) > 1:
        known = ", ".join(sorted(map(str, places)))
        raise InputError(Problem(f"run {run_id}", f"holds more than one {what}", f"choose a path: {known}"))
    for name in names:
        fetch_file(client, run_id, (places[0] / name).as_posix(), folder / places[0] / name)
    return folder / places[0]


def _files(client: MlflowClient, run_id: str) -> list[str]:
    """Names of all files of a run.

    Raises:
        InputError: No such run.
        CorruptArtifactError: A name leads out of the run's folder, or the listing has no end.
    """
    files: list[str] = []
    folders = [""]
    n_listed, is_endless = 0, False
    try:
        client.get_run(run_id)
        while folders and n_listed <= _MOST_LISTED and not is_endless:
            items = client.list_artifacts(run_id, folders.pop() or None)
            n_listed += len(items)
            is_endless = any(item.path.count("/") >= _DEEPEST for item in items)
            folders += [item.path for item in items if item.is_dir]
            files += [item.path for item in items if not item.is_dir]
    except Exception as error:  # MLflow's own kinds; the message says it
        raise InputError(
            Problem(f"run {run_id}", one_line(error), "see the run ids of `dwp-sweep best`")
        ) from error
    if is_endless or n_listed > _MOST_LISTED:
        raise CorruptArtifactError(
            f"run {run_id} lists more than {_MOST_LISTED} files or folders nested deeper than {_DEEPEST}: "
            "no run of this package has as many"
        )
    return sorted(_inside(run_id, files))


def _inside(run_id: str, files: list[str]) -> list[str]:
    """The names, after a check that none leads out of the folder that files are fetched into."""
    for file in files:
        if not is_inside(file):
            raise CorruptArtifactError(f"run {run_id} names a file outside its folder: {file!r}")
    return files
