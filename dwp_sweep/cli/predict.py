"""``dwp-sweep predict``: a trained network on scans, masks on the scans' own grids."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import FAILED, place, remark, say, show_problems

if TYPE_CHECKING:
    from dwp_sweep.prediction.trained import Device, Estimate

_N_NAMED = 5
_file = partial(click.option, type=click.Path(path_type=Path), callback=place)


@click.command(short_help="Segment scans with a trained network.")
@click.argument("run", metavar="RUN")
@click.argument("image", metavar="IMAGE")
@_file("--output", "-o", metavar="OUTPUT", required=True, help="Mask to write, on the scan's own grid.")
@_file(
    "--probability",
    metavar="PROBABILITY",
    help="Probability of the foreground to write; of several classes each.",
)
@_file("--uncertainty", metavar="UNCERTAINTY", help="Predictive entropy to write, in nats.")
@_file(
    "--picture", metavar="PICTURE", help="PNG to draw: three planes with the outline, and the uncertainty."
)
@click.option(
    "--estimate",
    type=click.Choice(["draws", "mean"]),
    default="draws",
    show_default=True,
    help="Bayesian networks: the mean over weight draws, or the posterior mean; for all results alike.",
)
@click.option(
    "--calibrate/--no-calibrate",
    default=True,
    show_default=True,
    help="Probability and uncertainty at the temperature that was fitted on the validation scans.",
)
@click.option(
    "--ensemble",
    is_flag=True,
    help="With best:SWEEP: the mean of all networks of the best configuration, over its splits and seeds.",
)
@click.option("--force", is_flag=True, help="Write over files that exist.")
@options.where
@options.device
@options.storage
@options.tracking_uri
def predict(
    run: str,
    image: str,
    output: Path,
    probability: Path | None,
    uncertainty: Path | None,
    picture: Path | None,
    estimate: Estimate,
    calibrate: bool,
    ensemble: bool,
    force: bool,
    where: dict[str, str],
    device: Device,
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Segment a scan with the network of a run.

    RUN is best:SWEEP, an MLflow run id, or the start of a node's key. IMAGE is any NIfTI, turned and
    spaced as it may be; several with commas between are the channels. A folder of images gives folders of
    results, by the images' names; files named as masks (..._seg, ..._mask, label...) are left out. A scan
    that cannot be used does not stop the others: it is named at the end, and the exit code is 1.

    Scans are prepared exactly as for the run's training. Mask, probability and
    uncertainty (the entropy of the predicted class) are of one estimate: of the mean over weight draws for
    Bayesian networks, of the softmax for others. Probability and uncertainty are calibrated by the
    temperature that the run fitted on its validation scans; masks do not depend on it.
    """
    from dwp_sweep.cli.terminal import scan_bar
    from dwp_sweep.prediction.jobs import Outputs, split_images
    from dwp_sweep.prediction.request import Request, make_ready
    from dwp_sweep.prediction.run import Failed, run_jobs

    outputs = Outputs(output, probability, uncertainty, picture)
    request = Request(
        run,
        split_images(image),
        outputs,
        force,
        where,
        storage,
        tracking_uri,
        device,
        estimate,
        calibrate,
        ensemble,
    )
    ready = make_ready(request)
    remark(f"network: {ready.trained.title}, {ready.trained.run}", *ready.trained.meaning)
    if ensemble and not ready.trained.others:
        remark("note: an ensemble of one network is that network: the best configuration has a single run")
    if classes := ready.trained.dataset.own_classes:
        words = ", ".join(f"{labels[0]} {name}" for name, labels in classes)
        remark(f"values of the masks: {words}; probabilities in this order along the fourth axis")
    if probability or uncertainty or picture:
        remark(f"probabilities: {ready.trained.on_probabilities}")
    if ready.skipped:
        names = ", ".join(path.name for path in ready.skipped[:_N_NAMED])
        n_more = len(ready.skipped) - _N_NAMED
        remark(f"left out, named as masks: {names}" + (f" and {n_more} more" if n_more > 0 else ""))
    failed: list[Failed] = []
    with scan_bar() as progress:
        for result in run_jobs(ready, progress):
            if isinstance(result, Failed):
                failed.append(result)
                continue
            scan = result.segmentation
            say(f"{result.job.outputs.mask}: {scan.volume_ml:.4g} ml, {int((scan.mask > 0).sum())} voxels")
            for name, volume_ml in scan.volumes_ml.items():
                say(f"  {name}: {volume_ml:.4g} ml")
            for note in scan.notes:
                remark(f"note: {result.job.name}: {note}")
    if failed:
        remark(f"{len(failed)} of {len(ready.scans)} scans cannot be used, the others are done:")
        show_problems(problem for failure in failed for problem in failure.problems)
        raise click.exceptions.Exit(FAILED)
