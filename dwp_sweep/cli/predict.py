"""``dwp-sweep predict``: a trained network on scans, masks on the scans' own grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.places import place

if TYPE_CHECKING:
    from dwp_sweep.prediction.run import Done

_FAR_OUTSIDE = 0.01
"""Share of the patient beyond the training's crop from which on a person should know."""


def _result(
    name: str, *flags: str, required: bool = False, text: str
) -> Callable[[options.CommandT], options.CommandT]:
    return click.option(
        f"--{name}",
        *flags,
        required=required,
        type=click.Path(path_type=Path),
        metavar=name.upper(),
        callback=place(f"--{name}"),
        help=text,
    )


@click.command(short_help="Segment scans with a trained network.")
@click.argument("run", metavar="RUN")
@click.argument("image", metavar="IMAGE")
@_result("output", "-o", required=True, text="Mask to write, on the scan's own grid.")
@_result("probability", text="Foreground probability to write.")
@_result("uncertainty", text="Predictive entropy to write, in nats.")
@_result("picture", text="PNG to draw: three planes with the outline, and the uncertainty.")
@click.option("--force", is_flag=True, help="Write over files that exist.")
@click.option("--where", "where", metavar="KEY=VALUE", multiple=True, help="With best:SWEEP: only such runs.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto: a GPU if there is one.",
)
@options.storage
@options.tracking_uri
def predict(
    run: str,
    image: str,
    output: Path,
    probability: Path | None,
    uncertainty: Path | None,
    picture: Path | None,
    force: bool,
    where: tuple[str, ...],
    device: str,
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Segment a scan with the network of a run.

    RUN is best:SWEEP, an MLflow run id, or the start of a node's key. IMAGE is any NIfTI, turned and
    spaced as it may be; several with commas between are the channels. A folder of images gives folders of
    results, by the images' names.

    Scans are prepared exactly as for the run's training. The uncertainty is the entropy of the predicted
    class: over weight draws for variational networks, of the softmax for others.
    """
    from dwp_sweep.cli.answers import conditions
    from dwp_sweep.cli.scan_bar import scan_bar
    from dwp_sweep.prediction.jobs import Outputs, make_jobs, split_images

    outputs = Outputs(output, probability, uncertainty, picture)
    jobs = make_jobs(split_images(image), outputs, force)
    from dwp_sweep.prediction.run import run_jobs
    from dwp_sweep.prediction.trained import find_trained

    trained = find_trained(run, storage, tracking_uri, conditions(where), device)  # type: ignore[arg-type]
    click.echo(f"network: {trained.title}", err=True)
    with scan_bar() as progress:
        for done in run_jobs(jobs, trained, progress):
            _show(done)


def _show(done: Done) -> None:
    found = done.found
    click.echo(f"{done.job.outputs.mask}: {found.volume_ml:.4g} ml, {int(found.mask.sum())} voxels")
    if found.unseen > _FAR_OUTSIDE:
        text = f"the run's preprocess.shape crops {found.unseen:.0%} of what shows the patient away"
        click.echo(f"note: {done.job.name}: {text}; it counts as background", err=True)
