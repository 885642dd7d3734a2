"""Networks, priors and any other output back from MLflow, by run id.

The end of the pipeline for a program: `load_model` gives a network that is ready to predict. Only
safetensors and JSON are read; nothing is unpickled.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from dwp_sweep.errors import CorruptArtifactError, InputError, Problem
from dwp_sweep.tracking.client import one_line
from dwp_sweep.tracking.read.runs import open_reader

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import nn

    from dwp_sweep.nets.kernel_prior import KernelPrior

_NET, _PRIOR = ("net.json", "net.safetensors"), ("prior.json", "prior.safetensors")


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


def download_outputs(run_id: str, folder: Path, tracking_uri: str | None = None) -> Path:
    """All files of a run, figures included, into ``folder``, made if missing.

    Raises:
        InputError: No such run.
        CorruptArtifactError: A file's name leads out of the folder.
    """
    client, _ = open_reader(tracking_uri)
    files = _files(client, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        _download(client, run_id, file, folder)
    return folder


def _fetch(
    run_id: str, tracking_uri: str | None, path: str | None, names: tuple[str, ...], what: str, folder: Path
) -> Path:
    client, _ = open_reader(tracking_uri)
    place = _place(_files(client, run_id), run_id, path, names, what)
    for name in names:
        _download(client, run_id, (place / name).as_posix(), folder)
    return folder / place


def _download(client: MlflowClient, run_id: str, file: str, folder: Path) -> None:
    # Artifact stores differ in whether a file keeps its folder when it is fetched alone.
    with tempfile.TemporaryDirectory() as beside:
        fetched = client.download_artifacts(run_id, file, beside)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(fetched, folder / file)


def _place(
    files: list[str], run_id: str, path: str | None, names: tuple[str, ...], what: str
) -> PurePosixPath:
    folders = [PurePosixPath(file).parent for file in files if PurePosixPath(file).name == names[0]]
    if path is not None:
        folders = [folder for folder in folders if folder == PurePosixPath(path)]
    if not folders:
        raise InputError(
            Problem(f"run {run_id}", f"holds no {what}", f"files there: {', '.join(files) or 'none'}")
        )
    if len(folders) > 1:
        known = ", ".join(sorted(str(folder) for folder in folders))
        raise InputError(Problem(f"run {run_id}", f"holds more than one {what}", f"choose a path: {known}"))
    return folders[0]


def _files(client: MlflowClient, run_id: str) -> list[str]:
    files: list[str] = []
    folders = [""]
    try:
        client.get_run(run_id)
        while folders:
            for item in client.list_artifacts(run_id, folders.pop() or None):
                (folders if item.is_dir else files).append(item.path)
    except Exception as error:  # MLflow's own kinds; the message says it
        raise InputError(
            Problem(f"run {run_id}", one_line(error), "see the run ids of `dwp-sweep best`")
        ) from error
    return sorted(_inside(run_id, files))


def _inside(run_id: str, files: list[str]) -> list[str]:
    """The names, none of which leads out of the folder that they are fetched into.

    Raises:
        CorruptArtifactError: One does: no artifact store of ours has such names.
    """
    for file in files:
        place = PurePosixPath(file)
        if place.is_absolute() or ".." in place.parts or "\0" in file or "\\" in file:
            raise CorruptArtifactError(f"run {run_id} names a file outside its folder: {file!r}")
    return files
