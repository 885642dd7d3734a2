"""What ``run``, ``best`` and ``report`` show for people. Programs use ``--json`` or the Python functions."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape

from dwp_sweep.cli.terminal import standard_output
from dwp_sweep.harness.view.text import node_lines
from dwp_sweep.report.answers.table import PaperTable, paper_table
from dwp_sweep.report.paired.differences import PairedTable
from dwp_sweep.tables import print_framed, print_tables
from dwp_sweep.tracking.client import shown_uri
from dwp_sweep.tracking.write.pages import targets_page

if TYPE_CHECKING:
    from dwp_sweep.api import SweepRun
    from dwp_sweep.report.search.report import SearchReport
    from dwp_sweep.tracking.read.best import Best
    from dwp_sweep.tracking.read.conditions import BestByCondition
    from dwp_sweep.tracking.read.pareto import Front


def show_run(run: SweepRun, storage: Path | str) -> None:
    """Print how a run ended: table, best configuration, what failed, and where to look further.

    Args:
        run: From `run_sweep`.
        storage: As the user gave it.
    """
    console = standard_output()
    if (run.results["state"] == "done").any():
        console.print()
        show_table(paper_table(run.results), console)
    if run.front is not None:
        console.print()
        print_tables(run.front.tables(), console)
    elif run.best is not None:
        console.print()
        print_tables(run.best.tables(), console)
    if run.search is not None:
        console.print()
        print_tables(run.search.tables(), console)
    _show_failures(run, console)
    console.print()
    _show_ways_on(run, storage, console)


def show_answer(answer: Best | BestByCondition | Front | SearchReport) -> None:
    """Print the tables of an answer."""
    print_tables(answer.tables(), standard_output())


def show_table(table: PaperTable, console: Console | None = None) -> None:
    """Print the paper's table: drawn on a terminal, plain text elsewhere."""
    console = console or standard_output()
    if console.is_terminal:
        print_framed(table.tables(), console)
    else:
        console.print(table.text(), markup=False, highlight=False, soft_wrap=True)


def show_report(table: PaperTable, pairs: Sequence[PairedTable], form: str) -> None:
    """Print the table and the differences to each reference.

    Args:
        table: Of the sweep.
        pairs: One a reference.
        form: ``text``, ``markdown`` or ``json`` (then the differences stand under ``paired``).
    """
    if form == "json":
        values = json.loads(table.json()) | ({"paired": [one.values() for one in pairs]} if pairs else {})
        click.echo(json.dumps(values, indent=1, allow_nan=False))
    elif form == "markdown":
        click.echo("\n\n".join([table.markdown(), *(one.markdown() for one in pairs)]))
    else:
        show_table(table)
        for one in pairs:
            click.echo(f"\n{one.text()}")


def _show_failures(run: SweepRun, console: Console) -> None:
    for node, message in run.outcome.failed:
        line = (message.strip().splitlines() or ["no message"])[0]
        console.print(f"[red]failed[/] {escape(node.title)}: {escape(line)}", soft_wrap=True, highlight=False)
    if run.outcome.blocked:
        names = escape(node_lines(run.outcome.blocked))
        console.print(f"[yellow]blocked[/] by them: {names}", soft_wrap=True, highlight=False)


def _show_ways_on(run: SweepRun, storage: Path | str, console: Console) -> None:
    if not run.tracking.online:
        console.print(
            f"  the records are in {escape(str(storage))}; the same command sends them to MLflow",
            soft_wrap=True,
        )
        return
    for what, command in _ways_on(run, storage):
        console.print(f"  {what:<24}{escape(command)}", highlight=False, soft_wrap=True)


def _ways_on(run: SweepRun, storage: Path | str) -> list[tuple[str, str]]:
    uri = shown_uri(run.tracking.uri)
    sweep = [run.sweep.name, *([] if str(storage) == "dwp_runs" else ["--storage", str(storage)])]
    sweep += [] if uri == own_uri(storage) else ["--tracking-uri", uri]
    best = shlex.join(["dwp-sweep", "best", *sweep])
    # A search that may not ask for anything has no target.
    labels = run.sweep.nodes[run.sweep.targets[0]].labels if run.sweep.targets else {}
    where = " ".join(f"--where {name}={labels[name]}" for name in ("method", "train_size") if name in labels)
    server = uri if "http" in uri else shlex.join(["mlflow", "ui", "--backend-store-uri", uri])
    ways = [
        ("curves, figures, files", server),
        ("there, target networks", targets_page(run.tracking.experiment_id)),
        ("this table", shlex.join(["dwp-sweep", "report", *sweep])),
        ("the best", best),
    ]
    if where:
        ways.append(("of one method and size", f"{best} {where}"))
    if run.search is not None:
        figures = (
            "artifacts of the parent run"
            if isinstance(storage, str)
            else f"{storage}/sweeps/{run.sweep.name}/figures"
        )
        ways.append(("figures of the search", figures))
    if run.best is not None:
        code = f"import dwp_sweep; net = dwp_sweep.load_model({run.best.run_ids[0]!r}, {uri!r})"
        ways.append(("the trained network", f'python -c "{code}"'))
    return ways


def own_uri(storage: Path | str) -> str:
    """MLflow's database inside a storage folder: the default of every command; empty where there is none."""
    return "" if isinstance(storage, str) else f"sqlite:///{storage.resolve() / 'mlflow.db'}"
