"""Trained networks for other programs: exports in several formats, and MLflow's model registry."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.api.planning import DEFAULT_STORAGE
from dwp_sweep.data.files.names import home_path
from dwp_sweep.tracking.client import resolve_uri
from dwp_sweep.tracking.mlflow_format import PLACES

if TYPE_CHECKING:
    from dwp_sweep.export.write import Format, Origin
    from dwp_sweep.prediction.trained import Estimate, Trained


@dataclass(frozen=True)
class Export:
    """A network that was exported.

    Attributes:
        folder: Where it lies.
        form: Its format.
        title: What was trained.
        run: Which run it is.
        meaning: Words on what ``best:SWEEP`` meant; empty for a run that was named itself.
        notes: What a person should know.
    """

    folder: Path
    form: str
    title: str
    run: str
    meaning: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line."""
        return f"Export({str(self.folder)!r}, form={self.form!r}, {self.title!r}, {self.run!r})"


@dataclass(frozen=True)
class Registered:
    """A version of a model in MLflow's registry.

    Attributes:
        name: Of the model.
        version: Of this network.
        uri: By which MLflow loads and serves it.
        title: What was trained.
        run: Which run it is.
        meaning: As for `Export`.
    """

    name: str
    version: str
    uri: str
    title: str
    run: str
    meaning: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line."""
        return f"Registered({self.uri!r}, {self.title!r}, {self.run!r})"


def export_model(
    run: str,
    out: str | Path,
    form: Format = "bundle",
    *,
    weights_only: bool = False,
    estimate: Estimate = "draws",
    where: Mapping[str, Any] | None = None,
    storage: str | Path = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
) -> Export:
    """Write the network of a run into a folder that runs without this package.

    Its masks are those of `predict` on a CPU in float32.

    Args:
        run: ``best:SWEEP``, an MLflow run id, or the start of a node's key.
        out: The folder; must not exist.
        form: ``bundle`` (MONAI), ``onnx``, ``torchscript`` or ``safetensors``.
        weights_only: Leave out settings, scores and names of scans: ``training.json``.
        estimate: Of a Bayesian network, as for `predict`: its weight draws, or its posterior mean alone.
        where: With ``best:SWEEP``, as for `best_config`.
        storage: As for `run_sweep`.
        tracking_uri: As for `run_sweep`.

    Raises:
        InputError: No such run, a folder that exists, a library of the format that is missing.
    """
    from dwp_sweep.export.write import check_export, write_export

    out = home_path(out)
    check_export(out, form)
    trained, origin = _network(run, estimate, where, storage, tracking_uri)
    write_export(trained, origin, out, form, weights_only)
    return Export(out, form, trained.title, trained.run, trained.meaning, _notes(trained))


def register_model(
    run: str,
    name: str,
    *,
    estimate: Estimate = "draws",
    where: Mapping[str, Any] | None = None,
    storage: str | Path = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
) -> Registered:
    """Make the network of a run a version of a model in MLflow's registry, which MLflow loads and serves.

    Args:
        run: As for `export_model`.
        name: Of the model; a new one is made.
        estimate: As for `export_model`.
        where: As for `export_model`.
        storage: As for `run_sweep`.
        tracking_uri: As for `run_sweep`.

    Raises:
        InputError: No such run, no registry in this MLflow, a name that it refuses.
    """
    from dwp_sweep.export.example import example_scan
    from dwp_sweep.export.source import LIBRARIES
    from dwp_sweep.export.write import write_export
    from dwp_sweep.tracking.write.registry import check_name, register_export

    uri = resolve_uri(tracking_uri, storage)
    check_name(name, uri)
    trained, origin = _network(run, estimate, where, storage, tracking_uri)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "network"
        facts = write_export(trained, origin, folder, "torchscript", weights_only=True)
        channels = facts.channel_names or ("image",)
        example = example_scan(len(channels))
        version, model_uri = register_export(
            folder, name, channels, example, LIBRARIES, trained.title, origin.run, uri
        )
    return Registered(name, version, model_uri, trained.title, trained.run, trained.meaning)


def _network(
    run: str,
    estimate: Estimate,
    where: Mapping[str, Any] | None,
    storage: str | Path,
    tracking_uri: str | None,
) -> tuple[Trained, Origin]:
    from dataclasses import replace

    from dwp_sweep.export.write import Origin
    from dwp_sweep.prediction.trained import find_trained

    trained = find_trained(run, storage, tracking_uri, where, "cpu")
    if estimate == "mean":
        trained = replace(trained, n_samples=0)
    record = trained.record
    training = {
        "run": trained.run,
        "title": trained.title,
        "config": _without_places(record.config) if record else {},
        "metrics": dict(record.metrics) if record else {},
    }
    return trained, Origin(trained.run.removeprefix("run "), training)


def _without_places(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _without_places(value) for key, value in values.items() if key not in PLACES}
    return [_without_places(value) for value in values] if isinstance(values, list | tuple) else values


def _notes(trained: Trained) -> tuple[str, ...]:
    if trained.compute.precision == "fp32":
        return ()
    return (
        f"exports compute in float32, and this run predicts in {trained.compute.precision}: some voxels at a "
        "boundary may differ from predict",
    )
