"""``dwp-sweep best | report``: questions to MLflow about a sweep that has run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import place, remark, say
from dwp_sweep.errors import InputError, Problem

if TYPE_CHECKING:
    import pandas as pd

    from dwp_sweep.report.answers.in_scans import ScansTable
    from dwp_sweep.report.answers.paper_table import PaperTable
    from dwp_sweep.report.paired.differences import PairedTable
    from dwp_sweep.report.search.report import SearchReport
    from dwp_sweep.tables import Table
    from dwp_sweep.tracking.read.best import Best
    from dwp_sweep.tracking.read.conditions import BestByCondition
    from dwp_sweep.tracking.read.pareto import Front


class Further(NamedTuple):
    """What a report prints below its table and the differences.

    Attributes:
        ensembles: None where the sweep has none.
        in_scans: One for each reference that has enough training sizes.
    """

    ensembles: Table | None
    in_scans: tuple[ScansTable, ...]

    @property
    def tables(self) -> list[Table]:
        """All of them, in order."""
        ensembles = [self.ensembles] if self.ensembles is not None else []
        return [*ensembles, *(table for each in self.in_scans for table in each.tables())]


@click.command()
@options.sweep
@options.where
@click.option("--metric", help="Validation metric to select by.  [default: val_dice]")
@click.option(
    "--by",
    metavar="KEY",
    multiple=True,
    help="One answer for each value of this setting, e.g. train_size; several: repeated or with commas.",
)
@click.option(
    "--pareto",
    metavar="METRIC,METRIC",
    help="The Pareto front of these: validation metrics, gpu_hours, cpu_hours, hours, wall_s, n_steps.  "
    "[default: the objectives of a search for several]",
)
@options.as_json
@options.storage
@options.tracking_uri
def best(
    sweep: str,
    where: dict[str, str],
    metric: str | None,
    by: tuple[str, ...],
    pareto: str | None,
    as_json: bool,
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Print a sweep's best configuration, or the best ones of a sweep that was searched for several things.

    Selected by the mean of a validation metric over splits and seeds; test metrics stand beside it and
    never select.
    """
    if pareto and (by or metric):
        other = "--by" if by else "--metric"
        fix = "look at one condition with --where" if by else "leave one of them out"
        raise InputError(Problem(f"--pareto and {other}", "are different questions", fix))
    from dwp_sweep.api import best_config, best_configs, pareto_front
    from dwp_sweep.tracking.client import resolve_uri
    from dwp_sweep.tracking.read.runs import open_reader, parent_facts

    uri, objectives = resolve_uri(tracking_uri, storage), _names((pareto,) if pareto else ())
    if not (pareto or metric or by):  # what the sweep searched for, as its parent run names it
        objectives = parent_facts(open_reader(uri)[0], sweep).objectives
    answer: Best | BestByCondition | Front
    if len(objectives) > 1 or pareto:
        answer = pareto_front(sweep, objectives, where, uri, storage)
    elif by:
        answer = best_configs(sweep, _names(by), metric or "val_dice", where, uri, storage)
    else:
        answer = best_config(sweep, metric or "val_dice", where, uri, storage)
    if as_json:
        click.echo(answer.to_json())
    else:
        _show_answer(answer)


@click.command(short_help="Print a sweep's table, and differences to one of its methods.")
@options.sweep
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
    callback=place,
    help="Draw the differences with their intervals into this PNG.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    callback=place,
    help="Write the whole report into this folder: a page (index.html), figures, tables as CSV and LaTeX.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    help="How to print.  [default: text]",
)
@click.option("--markdown", "markdown", is_flag=True, help="The same as --format markdown.")
@click.option(
    "--search",
    "search",
    type=click.Path(file_okay=False, path_type=Path),
    callback=place,
    help="Of a search: write its figures, importances and trials into this folder, and print a summary.",
)
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
    search: Path | None,
    as_json: bool,
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Print a sweep's table: test Dice, then IoU, mean (std) by method or variant and training size.

    With --versus the differences to one of them follow, subject by subject on the same test scans, with
    two intervals each: over splits (training again) and over test subjects (these networks). Where three
    training sizes or more are there, each difference is also told in labelled scans.

    With --out a page with everything is written instead: tables, tests, figures, learning curves, cost,
    settings. It holds all it needs and opens without a network.
    """
    if out is not None:
        refused = {"--metric": metric, "--figure": figure, "--format": form, "--markdown": markdown}
        _write_page(sweep, out, versus, {**refused, "--json": as_json}, storage, tracking_uri)
        return
    form = _form(form, markdown, as_json)
    _need_versus(versus, metric=metric, figure=figure)
    from dwp_sweep.api import results, search_report
    from dwp_sweep.report.answers.paper_table import paper_table
    from dwp_sweep.report.paired.differences import paired_table
    from dwp_sweep.store.open_store import open_store
    from dwp_sweep.tracking.client import resolve_uri
    from dwp_sweep.tracking.read.files import ScoreReader

    uri = resolve_uri(tracking_uri, storage)
    rows, read = results(sweep, uri, storage), ScoreReader(open_store(storage), uri).read
    pairs = [paired_table(rows, name, read, metric or "test_dice") for name in dict.fromkeys(versus)]
    _show_report(paper_table(rows), pairs, _further(rows, versus), form)
    if figure is not None:
        from dwp_sweep.report.paired.forest import forest_figure

        forest_figure(pairs, figure)
        remark(f"figure: {figure}")
    if search is not None:
        summary = search_report(sweep, storage, uri)
        files = summary.write(search)
        if form == "text":
            click.echo()
            _show_answer(summary)
        for path in files.values():
            remark(f"written: {path}")


def _show_answer(answer: Best | BestByCondition | Front | SearchReport) -> None:
    from dwp_sweep.cli.terminal import standard_output
    from dwp_sweep.tables import print_tables

    print_tables(answer.tables(), standard_output())


def _further(rows: pd.DataFrame, versus: Sequence[str]) -> Further:
    """Ensembles, and effects in scans of each reference; why there are none goes to standard error."""
    from dwp_sweep.report.answers.ensembles import ensemble_table
    from dwp_sweep.report.answers.in_scans import scans_table

    in_scans = []
    for name in dict.fromkeys(versus):
        try:
            in_scans.append(scans_table(rows, name))
        except InputError as error:
            remark("\n".join(map(str, error.problems)))
    return Further(ensemble_table(rows), tuple(in_scans))


def _show_report(table: PaperTable, pairs: Sequence[PairedTable], further: Further, form: str) -> None:
    """Print the table, differences to each reference (in JSON ``paired``), ensembles, effects in scans."""
    if form == "json":
        values = json.loads(table.json()) | ({"paired": [pair.values() for pair in pairs]} if pairs else {})
        values |= {"in_scans": [each.values() for each in further.in_scans]} if further.in_scans else {}
        click.echo(json.dumps(values, indent=1, allow_nan=False))
    elif form == "markdown":
        from dwp_sweep.tables import markdown

        more = [markdown(each) for each in further.tables]
        click.echo("\n\n".join([table.markdown(), *(pair.markdown() for pair in pairs), *more]))
    else:
        from dwp_sweep.cli.terminal import show_table
        from dwp_sweep.tables import plain_text

        show_table(table)
        for pair in pairs:
            click.echo(f"\n{pair.text()}")
        for each in further.tables:
            click.echo(f"\n{plain_text(each)}")


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


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


def _write_page(
    sweep: str,
    out: Path,
    versus: tuple[str, ...],
    refused: Mapping[str, object],
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Write the report; ``refused``: options that are about what is printed, none of which may be given."""
    problems = [
        Problem(name, "is about what is printed, and --out writes the whole report", "leave one of them out")
        for name, value in refused.items()
        if value
    ]
    if len(versus) > 1:
        problems.append(Problem("--versus", "a report page has one reference", "name one of them"))
    if problems:
        raise InputError(problems)
    from dwp_sweep.report.page.write import write_report
    from dwp_sweep.store.open_store import open_store
    from dwp_sweep.tracking.client import resolve_uri

    written = write_report(
        sweep, out, resolve_uri(tracking_uri, storage), open_store(storage), versus[0] if versus else None
    )
    say(written.headline)
    if written.missing:
        remark(f"missing, unfinished or failed: {len(written.missing)}, named on the page")
    say(f"report: {written.page}")
