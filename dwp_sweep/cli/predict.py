"""``dwp-sweep predict``: a trained network on scans, masks on the scans' own grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import FAILED, place, show_problems

if TYPE_CHECKING:
    from dwp_sweep.prediction.run import Done
    from dwp_sweep.prediction.trained import Device

_N_NAMED = 5


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
    device: Device,
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Segment a scan with the network of a run.

    RUN is best:SWEEP, an MLflow run id, or the start of a node's key. IMAGE is any NIfTI, turned and
    spaced as it may be; several with commas between are the channels. A folder of images gives folders of
    results, by the images' names; files named as masks (..._seg, ..._mask, label...) are left out. A scan
    that cannot be used does not stop the others: it is named at the end, and the exit code is 1.

    Scans are prepared exactly as for the run's training. The uncertainty is the entropy of the predicted
    class: over weight draws for variational networks, of the softmax for others.
    """
    from dwp_sweep.cli.answers import conditions
    from dwp_sweep.cli.terminal import scan_bar
    from dwp_sweep.prediction.jobs import Outputs, split_images
    from dwp_sweep.prediction.request import Request, make_ready
    from dwp_sweep.prediction.run import Done, Failed, run_jobs

    outputs = Outputs(output, probability, uncertainty, picture)
    images, chosen = split_images(image), conditions(where)
    ready = make_ready(Request(run, images, outputs, force, chosen, storage, tracking_uri, device))
    click.echo(f"network: {ready.trained.title}", err=True)
    if ready.skipped:
        click.echo(_left_out(ready.skipped), err=True)
    failed: list[Failed] = []
    with scan_bar() as progress:
        for result in run_jobs(ready, progress):
            if isinstance(result, Done):
                _show(result)
            else:
                failed.append(result)
    if failed:
        click.echo(
            f"{len(failed)} of {len(ready.scans)} scans cannot be used, the others are done:", err=True
        )
        show_problems(problem for one in failed for problem in one.problems)
        raise click.exceptions.Exit(FAILED)


def _left_out(files: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in files[:_N_NAMED])
    more = f" and {len(files) - _N_NAMED} more" if len(files) > _N_NAMED else ""
    return f"left out, named as masks: {names}{more}"


def _show(done: Done) -> None:
    found = done.found
    click.echo(f"{done.job.outputs.mask}: {found.volume_ml:.4g} ml, {int(found.mask.sum())} voxels")
    for note in found.notes:
        click.echo(f"note: {done.job.name}: {note}", err=True)
