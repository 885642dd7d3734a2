"""``dwp-sweep bench``: what a training step costs on this machine, as ratios measured in one process.

``python -m tests.benchmarks``, the developers' command for all other benches, runs and prints them by the
same functions: a table of each for people, or all rows as JSON for programs.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import remark, say
from dwp_sweep.errors import InputError, Problem

if TYPE_CHECKING:
    from rich.console import Console

    from dwp_sweep.bench.frame import Bench, Row


@click.command(short_help="Measure what a training step costs on this machine.")
@options.bench_options
def bench(
    names: tuple[str, ...], only_list: bool, threads: int | None, device: str, quick: bool, as_json: bool
) -> None:
    """Measure a training step (the bench `step`) and print a table; `plan` estimates hours by it.

    A ratio relates a version to its baseline, which took turns with it in the same process; below 1 is
    faster. Times of two commands or of two machines say little about each other. Developers find further
    benches in a clone of the repository: python -m tests.benchmarks --list
    """
    from dwp_sweep.bench.step import step

    benches = {"step": step}
    if others := [name for name in names if name not in benches]:
        raise InputError(
            Problem(
                "bench",
                f"there is no {name!r} here, only step; developers' benches run in a clone of the"
                f" repository: python -m tests.benchmarks {name}",
            )
            for name in others
        )
    if only_list:
        list_benches(benches, as_json)
    else:
        run_benches(benches, threads, device, quick, as_json)


def list_benches(benches: Mapping[str, Bench], as_json: bool) -> None:
    """Print the names of benches and what each measures."""
    lines = {name: (inspect.getdoc(bench) or "").splitlines()[0] for name, bench in benches.items()}
    if as_json:
        click.echo(json.dumps(lines, indent=1))
        return
    for name, line in lines.items():
        say(f"{name:<10}{line}")


def run_benches(
    benches: Mapping[str, Bench], threads: int | None, device: str, quick: bool, as_json: bool
) -> None:
    """Run benches one after the other and print each as soon as it is done.

    The rates of the bench ``step`` are kept for the estimates of ``dwp-sweep plan``.

    Args:
        benches: By name, in order.
        threads: Of torch; None: as torch chose.
        device: ``auto``, ``cpu`` or ``cuda``.
        quick: At the tiny scale.
        as_json: Print one JSON object at the end instead of tables.

    Raises:
        InputError: The device is not there.
    """
    import torch

    from dwp_sweep.bench.frame import Setting, machine
    from dwp_sweep.cli.terminal import standard_output, status_line
    from dwp_sweep.harness.cost.step_rates import KEPT, keep_rates

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(Problem("--device cuda", "torch finds no GPU here", "leave it out, or say cpu"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    console, answers = standard_output(), {}
    n_threads = torch.get_num_threads()
    torch.set_num_threads(threads or n_threads)
    try:
        with status_line() as tell:
            setting = Setting(quick=quick, device=torch.device(device), tell=tell)
            facts = machine(setting)
            for name, measure in benches.items():
                rows = measure(setting)
                answers[name] = [{**asdict(row), "met": row.met} for row in rows]
                if not as_json:
                    _show_rows(name, rows, facts, console)
                if name == "step" and not quick:
                    rates = {row.name: row.seconds for row in rows if row.seconds and row.name in KEPT}
                    path = keep_rates(device, torch.get_num_threads(), rates)
                    remark(f"kept for the estimates of dwp-sweep plan: {path}")
    finally:
        torch.set_num_threads(n_threads)
    if as_json:
        click.echo(json.dumps({"machine": facts, "quick": quick, "benches": answers}, indent=1))


def _show_rows(name: str, rows: Sequence[Row], facts: Mapping[str, object], console: Console) -> None:
    from rich.text import Text

    from dwp_sweep.cli.terminal import print_line, table_of_numbers

    where = ", ".join(f"{key} {value}" for key, value in facts.items())
    print_line(console, f"{name}: {where}", style="bold")
    extras = list(dict.fromkeys(key for row in rows for key in row.extra))
    table = table_of_numbers("version", ("seconds", "ratio", "goal", *extras))
    table.add_column("what", ratio=1)
    for row in rows:
        numbers = (_number(row.extra.get(key)) for key in extras)
        ratio = "1" if row.name == row.baseline else f"{_number(row.ratio)} of {row.baseline or ''}"
        verdict = {True: ("met", "green"), False: ("missed", "yellow"), None: ("", "")}[row.met]
        table.add_row(
            row.name,
            _number(row.seconds),
            "" if row.ratio is None else ratio,
            "" if row.goal is None else Text.assemble(f"≤ {row.goal:g} ", verdict),
            *numbers,
            row.what,
        )
    console.print(table)
    console.print()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
