"""MLflow's model registry: an exported network as a version of a model that MLflow loads and serves.

The model is code and files (`served_model`): nothing is pickled. It lies with the run of the network.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.tracking.client import mlflow_client, one_line, shown_uri, sqlite_path
from dwp_sweep.tracking.mlflow_format import KEY_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CODE = Path(__file__).with_name("served_model.py")
_PLACE = "model"
"""Folder of the model among the run's artifacts."""
_TITLE_TAG, _RUN_TAG = "dwp.title", "dwp.run"
_N_EXPERIMENTS = 1_000
RUNTIME = "dwp_sweep_runtime"


def check_name(name: str, uri: str) -> None:
    """Make sure that there is a registry, and that it takes a name.

    Raises:
        InputError: There is none, or the name is one that MLflow refuses.
    """
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        fix = "name the --storage or the --tracking-uri of the sweep"
        raise InputError(Problem(shown_uri(uri), "there is no MLflow database", fix))
    if not name.strip() or set(name) & set("/:") or not name.isprintable():
        what = "is no name of a model: MLflow refuses '/', ':' and empty names"
        raise InputError(Problem(f"--name {name!r}", what, "choose another one"))
    try:
        mlflow_client(uri).search_registered_models(max_results=1)
    except Exception as error:  # MLflow's own kinds, and those of stores without a registry
        what = f"has no model registry: {one_line(error)}"
        fix = "name an MLflow server, or a database as sqlite:///FILE, with --tracking-uri"
        raise InputError(Problem(shown_uri(uri), what, fix)) from error


def register_export(
    folder: Path,
    name: str,
    channels: Sequence[str],
    example: Sequence[bytes],
    libraries: Sequence[str],
    title: str,
    run: str,
    uri: str,
) -> tuple[str, str]:
    """Log an exported network to its run, and make it a version of a model.

    Args:
        folder: Of the export.
        name: Of the model; made if missing.
        channels: Columns of the input.
        example: A NIfTI file for each of them.
        libraries: What the export imports.
        title: What was trained.
        run: MLflow run id, or stage and key of a node.
        uri: MLflow's tracking URI.

    Returns:
        The version and the model's URI, ``models:/NAME/VERSION``.

    Raises:
        InputError: MLflow has no such run, or refuses.
    """
    client = mlflow_client(uri)
    run_id = _run_of(run, client, uri)
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / _PLACE
        _save(model, folder, channels, example, libraries)
        try:
            client.log_artifacts(run_id, str(model), _PLACE)
            source = f"{client.get_run(run_id).info.artifact_uri}/{_PLACE}"
            _make_model(name, client)
            tags = {_TITLE_TAG: title, _RUN_TAG: run}
            version = client.create_model_version(name, source, run_id, tags=tags, description=title)
        except Exception as error:  # MLflow's own kinds
            raise InputError(Problem(shown_uri(uri), f"takes no model: {one_line(error)}")) from error
    return str(version.version), f"models:/{name}/{version.version}"


def _run_of(run: str, client: MlflowClient, uri: str) -> str:
    key = run.rpartition(" ")[2]
    if key == run:
        return run
    experiments = [found.experiment_id for found in client.search_experiments(max_results=_N_EXPERIMENTS)]
    runs = client.search_runs(experiments, f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    if not runs:
        fix = "dwp-sweep sync SWEEP sends it, or name the MLflow that has it with --tracking-uri"
        raise InputError(Problem(run, f"has no run in {shown_uri(uri)}", fix))
    return str(runs[0].info.run_id)


def _make_model(name: str, client: MlflowClient) -> None:
    if not client.search_registered_models(f"name = '{name.replace(chr(39), chr(39) * 2)}'", max_results=1):
        client.create_registered_model(name)


def _save(
    place: Path, folder: Path, channels: Sequence[str], example: Sequence[bytes], libraries: Sequence[str]
) -> None:
    """The model as MLflow's folder: code, the export, signature, example, requirements."""
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns: list[Any] = [ColSpec("binary", name) for name in channels]
    answer: list[Any] = [ColSpec("binary", "mask"), ColSpec("double", "volume_ml")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own dependencies
        pyfunc.save_model(
            path=str(place),
            python_model=str(_CODE),
            artifacts={"network": str(folder)},
            code_paths=[str(folder / RUNTIME)],
            signature=ModelSignature(inputs=Schema(columns), outputs=Schema(answer)),
            input_example=pd.DataFrame([list(example)], columns=list(channels)),
            pip_requirements=[f"{name}=={_version(name)}" for name in ("mlflow", "pandas", *libraries)],
        )


def _version(name: str) -> str:
    return importlib.metadata.version(name).partition("+")[0]
