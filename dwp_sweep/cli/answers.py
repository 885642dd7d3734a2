"""``dwp-sweep best | report``: questions to MLflow about a sweep that has run."""

from __future__ import annotations

from pathlib import Path

import click

from dwp_sweep.cli import options
from dwp_sweep.errors import InputError, Problem


@click.command()
@click.argument("sweep", metavar="SWEEP")
@click.option("--where", "where", metavar="KEY=VALUE", multiple=True, help="Only runs with this value.")
@click.option("--metric", default="val_dice", show_default=True, help="Validation metric to select by.")
@options.as_json
@options.storage
@options.tracking_uri
def best(
    sweep: str, where: tuple[str, ...], metric: str, as_json: bool, storage: Path, tracking_uri: str | None
) -> None:
    """Print a sweep's best configuration.

    Selected by the mean of a validation metric over splits and seeds; test metrics stand beside it and
    never select.
    """
    from dwp_sweep.api import best_config
    from dwp_sweep.cli.summary import show_best
    from dwp_sweep.tracking.client import resolve_uri

    found = best_config(sweep, metric, conditions(where), resolve_uri(tracking_uri, storage))
    if as_json:
        click.echo(found.to_json())
    else:
        show_best(found)


@click.command(short_help="Print a sweep's table of test Dice and IoU.")
@click.argument("sweep", metavar="SWEEP")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="How to print the table.",
)
@options.storage
@options.tracking_uri
def report(sweep: str, form: str, storage: Path, tracking_uri: str | None) -> None:
    """Print a sweep's table: test Dice, then IoU, mean (std) by method and training size."""
    from dwp_sweep.api import results
    from dwp_sweep.cli.summary import show_table
    from dwp_sweep.report.table import paper_table
    from dwp_sweep.tracking.client import resolve_uri

    table = paper_table(results(sweep, resolve_uri(tracking_uri, storage)))
    if form == "text":
        show_table(table)
    else:
        click.echo(table.markdown() if form == "markdown" else table.json())


def conditions(texts: tuple[str, ...]) -> dict[str, str]:
    """``key=value`` texts as a mapping; numbers stay text, which compares equal to them.

    Raises:
        InputError: With every text that is not of this form.
    """
    bad = [text for text in texts if not text.partition("=")[0].strip() or "=" not in text]
    if bad:
        fix = "e.g. --where method=fine_tune"
        raise InputError(Problem(f"--where {text}", "is not of the form key=value", fix) for text in bad)
    pairs = (text.partition("=") for text in texts)
    return {key.strip(): value.strip() for key, _, value in pairs}
