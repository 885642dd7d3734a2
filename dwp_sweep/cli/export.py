"""``dwp-sweep export | register``: a trained network for other programs, and for MLflow's registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import place, remark, say

if TYPE_CHECKING:
    from dwp_sweep.export.write import Format
    from dwp_sweep.prediction.trained import Estimate

_estimate = click.option(
    "--estimate",
    type=click.Choice(["draws", "mean"]),
    default="draws",
    show_default=True,
    help="Bayesian networks: their weight draws, as predict takes them, or the posterior mean alone.",
)


@click.command(short_help="Export a trained network: MONAI bundle, ONNX, TorchScript.")
@click.argument("run", metavar="RUN")
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=click.Path(path_type=Path),
    callback=place,
    required=True,
    help="Folder to write; must not exist.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["bundle", "onnx", "torchscript", "safetensors"]),
    default="bundle",
    show_default=True,
    help="bundle: for MONAI and its servers; the others: a network file, and a script that runs it.",
)
@click.option("--weights-only", is_flag=True, help="Leave out settings, scores and names of scans.")
@_estimate
@options.where
@options.storage
@options.tracking_uri
def export(
    run: str,
    output: Path,
    form: Format,
    weights_only: bool,
    estimate: Estimate,
    where: dict[str, str],
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Write the network of a run into a folder that runs where dwp-sweep is not installed.

    RUN is best:SWEEP, an MLflow run id, or the start of a node's key. The folder holds the network, how scans
    are prepared, and code that makes the masks of `predict`. It holds no image.
    """
    from dwp_sweep.api import export_model

    written = export_model(
        run, output, form, weights_only=weights_only, estimate=estimate, where=where, storage=storage,
        tracking_uri=tracking_uri,
    )  # fmt: skip
    remark(f"network: {written.title}, {written.run}", *written.meaning)
    for note in written.notes:
        remark(f"note: {note}")
    say(f"{written.form}: {written.folder}")


@click.command(short_help="Put a trained network into MLflow's model registry.")
@click.argument("run", metavar="RUN")
@click.option("--name", metavar="NAME", required=True, help="Of the model; a new one is made.")
@_estimate
@options.where
@options.storage
@options.tracking_uri
def register(
    run: str,
    name: str,
    estimate: Estimate,
    where: dict[str, str],
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Make the network of a run a version of a model in MLflow's registry.

    MLflow loads and serves it: NIfTI files in, NIfTI masks out. It holds code and weights, no pickle, no
    image and no name of a scan.
    """
    from dwp_sweep.api import register_model

    added = register_model(
        run, name, estimate=estimate, where=where, storage=storage, tracking_uri=tracking_uri
    )
    remark(f"network: {added.title}, {added.run}", *added.meaning)
    say(f"{added.name}, version {added.version}: {added.uri}")
