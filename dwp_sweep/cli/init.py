"""``dwp-sweep init``: from two folders of scans to a search space that runs as it is."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import place, remark, say


@click.command(short_help="Write a search space for your scans.")
@click.option("--target", metavar="DIR", required=True, help="The few labelled scans: a folder, or a table.")
@click.option(
    "--source",
    metavar="DIR",
    help="Scans of the other disease; or a source network: its folder, or runs:/ID.  [default: none, a "
    "learning curve from random starts]",
)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=Path("mine.yaml"),
    show_default=True,
    callback=place,
    help="File to write; its name is the sweep's.",
)
@click.option("--force", is_flag=True, help="Write over a file that exists.")
@options.overrides
@options.storage
@options.tracking_uri
def init(
    target: str,
    source: str | None,
    output: Path,
    force: bool,
    overrides: tuple[str, ...],
    storage: str | Path,
    tracking_uri: str | None,
) -> None:
    """Look at the scans of two tasks and write a commented search space, which `run` takes as it is.

    Layouts are told by the files' names: Medical Segmentation Decathlon, nnU-Net, BIDS, BraTS, a folder a
    patient, or a CSV of image, mask, subject. Every line of the file says why it is so. What --set gives is
    not chosen, such as --set data.target.labels=[1] or --set data.source.subjects=0:90.

    The plan and its cost are printed; nothing is written where anything is wrong.
    """
    import dwp_sweep
    from dwp_sweep.cli.plan import show_plan
    from dwp_sweep.cli.terminal import scan_bar

    with scan_bar() as checking:
        made = dwp_sweep.init(
            target,
            source,
            output,
            overrides=overrides,
            force=force,
            storage=storage,
            tracking_uri=tracking_uri,
            say=remark,
            checking=checking,
        )
    say(*made.text.splitlines(), "")
    words = ["dwp-sweep", "run", str(made.path)]
    words += ["--storage", str(storage)] if str(storage) != "dwp_runs" else []
    show_plan(made.plan, shlex.join(words), False, made.cost)
    remark(f"written: {made.path}")
