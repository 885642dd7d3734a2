"""``dwp-sweep status | cancel | retrain``: look at a sweep, stop it, train its best again."""

from __future__ import annotations

from pathlib import Path

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import FAILED


@click.command(short_help="Show how a sweep stands: done, running, failed, hours, time left.")
@click.argument("sweep", metavar="SWEEP")
@options.as_json
@options.storage
def status(sweep: str, as_json: bool, storage: Path | str) -> None:
    """Show how a sweep stands, while it runs or after: nodes by stage, what runs, what failed, hours used.

    Reads the storage alone, so it works from any terminal that sees it, without MLflow and without Ray.
    """
    from dwp_sweep.cli.status_report import show_status, status_as_json
    from dwp_sweep.harness.view.status import sweep_status
    from dwp_sweep.store.open_store import open_store

    found = sweep_status(sweep, open_store(storage))
    if as_json:
        click.echo(status_as_json(found))
    else:
        show_status(found)


@click.command(short_help="Stop a running sweep politely, from another terminal.")
@click.argument("sweep", metavar="SWEEP")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="How long to wait until it has ended; 0 does not wait.",
)
@options.storage
@click.pass_context
def cancel(ctx: click.Context, sweep: str, wait: float, storage: Path | str) -> None:
    """Stop a running sweep as Ctrl-C does: nodes leave at their checkpoints, the run ends with 130.

    The same run command goes on from there. Exit code 1 if it has not ended when the wait is over.
    """
    from dwp_sweep.harness.cancel import cancel_sweep, wait_for_end
    from dwp_sweep.store.open_store import open_store

    store = open_store(storage)
    runs = cancel_sweep(sweep, store)
    for run in runs:
        click.echo(f"asked to stop: {run.sweep}, process {run.pid} on {run.host}")
    left = wait_for_end(runs, store, wait) if wait else ()
    if left:
        click.echo(f"not ended within {wait:g} s: its nodes leave after their present epoch", err=True)
        ctx.exit(FAILED)
    elif wait:
        click.echo("ended; the same run command goes on from there")


@click.command(short_help="Train the best configuration again, from the same upstream nodes.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--where", "where", metavar="KEY=VALUE", multiple=True, help="Only runs with this value.")
@click.option("--metric", default="val_dice", show_default=True, help="Validation metric to select by.")
@click.option("--seed", type=int, metavar="N", help="Of start, order and noise.  [default: the run's own]")
@click.option(
    "--all-images",
    is_flag=True,
    help="Train on all images that do not test, those of validation included; they go on choosing the "
    "epoch, so validation scores then say nothing about other scans.",
)
@click.option(
    "--address", metavar="ADDRESS", help="An existing Ray cluster.  [default: RAY_ADDRESS, else a local Ray]"
)
@options.storage
@options.tracking_uri
@click.pass_context
def retrain(
    ctx: click.Context,
    sweep: str,
    where: tuple[str, ...],
    metric: str,
    seed: int | None,
    all_images: bool,
    address: str | None,
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Train the best configuration of a sweep once more, from the very same upstream nodes.

    A fresh training, never a cached one: with the same seed it reproduces the run on a CPU. It belongs to
    the sweep SWEEP-retrain; its run names the first one in the tag dwp.retrained_from.
    """
    from dwp_sweep.api import retrain_best
    from dwp_sweep.cli.answers import conditions
    from dwp_sweep.cli.summary import show_run

    finished = retrain_best(
        sweep,
        storage,
        tracking_uri,
        conditions(where),
        metric,
        seed,
        all_images,
        address,
        say=lambda text: click.echo(text, err=True),
    )
    show_run(finished, storage)
    ctx.exit(finished.exit_code)
