"""``dwp-sweep best | report``: questions to MLflow about a sweep that has run."""

from __future__ import annotations

from pathlib import Path

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.places import place
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


@click.command(short_help="Print a sweep's table, and differences to one of its methods.")
@click.argument("sweep", metavar="SWEEP")
@click.option(
    "--versus",
    metavar="NAME",
    multiple=True,
    help="Add the paired differences to this method or variant; may be repeated.",
)
@click.option("--metric", help="Test score of the differences.  [default: test_dice]")
@click.option(
    "--figure",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=place("--figure"),
    help="Draw the differences with their intervals into this PNG.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    callback=place("--out"),
    help="Write the whole report into this folder: a page (index.html), figures, tables as CSV and LaTeX.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    help="How to print.  [default: text]",
)
@click.option("--markdown", "markdown", is_flag=True, help="The same as --format markdown.")
@options.as_json
@options.storage
@options.tracking_uri
def report(
    sweep: str,
    versus: tuple[str, ...],
    metric: str | None,
    figure: Path | None,
    out: Path | None,
    form: str | None,
    markdown: bool,
    as_json: bool,
    storage: Path,
    tracking_uri: str | None,
) -> None:
    """Print a sweep's table: test Dice, then IoU, mean (std) by method or variant and training size.

    With --versus the differences to one of them follow, subject by subject on the same test scans, with
    two intervals each: over splits (training again) and over test subjects (these networks).

    With --out a page with everything is written instead: tables, tests, figures, learning curves, cost,
    settings. It holds all it needs and opens without a network.
    """
    if out is not None:
        from dwp_sweep.cli.report_page import write_and_tell

        refused = {"--metric": metric, "--figure": figure, "--format": form, "--markdown": markdown}
        write_and_tell(sweep, out, versus, {**refused, "--json": as_json}, storage, tracking_uri)
        return
    form = _form(form, markdown, as_json)
    _need_versus(versus, metric=metric, figure=figure)
    from dwp_sweep.api import results
    from dwp_sweep.cli.summary import show_report
    from dwp_sweep.report.paired import paired_table
    from dwp_sweep.report.table import paper_table
    from dwp_sweep.store.store import Store
    from dwp_sweep.tracking.client import resolve_uri
    from dwp_sweep.tracking.scores import ScoreReader

    uri = resolve_uri(tracking_uri, storage)
    found, read = results(sweep, uri), ScoreReader(Store(storage), uri).read
    pairs = [paired_table(found, name, read, metric or "test_dice") for name in dict.fromkeys(versus)]
    show_report(paper_table(found), pairs, form)
    if figure is not None:
        from dwp_sweep.report.forest import forest_figure

        forest_figure(pairs, figure)
        click.echo(f"figure: {figure}", err=True)


def _form(form: str | None, markdown: bool, as_json: bool) -> str:
    asked = [name for name, wanted in (("markdown", markdown), ("json", as_json)) if wanted]
    asked += [form] if form else []
    if len(set(asked)) > 1:
        raise InputError(Problem(", ".join(asked), "are different forms", "ask for one of them"))
    return asked[0] if asked else "text"


def _need_versus(versus: tuple[str, ...], **given: object) -> None:
    if not versus:
        fix = "add --versus NAME, the method or variant to compare with"
        lost = [
            Problem(f"--{name} {value}", "is about differences", fix)
            for name, value in given.items()
            if value
        ]
        if lost:
            raise InputError(lost)


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
