"""Run benches and show them: a table of each for people, or all rows as JSON for programs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click
import torch
from rich.console import Console
from rich.markup import escape

from dwp_sweep.bench.frame import Bench, Row, Setting, Tell, machine
from dwp_sweep.cli.terminal import standard_output, table_of_numbers
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.cost.step_rates import KEPT, keep_rates


def list_benches(benches: Mapping[str, Bench], as_json: bool) -> None:
    """Print the names of benches and what each measures."""
    lines = {name: (inspect.getdoc(bench) or "").splitlines()[0] for name, bench in benches.items()}
    if as_json:
        click.echo(json.dumps(lines, indent=1))
        return
    for name, line in lines.items():
        click.echo(f"{name:<10}{line}")


def run_benches(
    benches: Mapping[str, Bench],
    threads: int | None,
    device: str,
    quick: bool,
    as_json: bool,
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
    place = _device(device)
    console, answers = standard_output(), {}
    with _threads(threads), _status_line() as tell:
        setting = Setting(quick=quick, device=place, tell=tell)
        facts = machine(setting)
        for name, bench in benches.items():
            rows = bench(setting)
            answers[name] = [as_dict(row) for row in rows]
            if not as_json:
                show_rows(name, rows, facts, console)
            if name == "step" and not quick:
                _keep(rows, place)
    if as_json:
        click.echo(json.dumps({"machine": facts, "quick": quick, "benches": answers}, indent=1))


def show_rows(name: str, rows: Sequence[Row], facts: Mapping[str, object], console: Console) -> None:
    """Print the table of one bench."""
    console.print(f"{escape(name)}: {_facts(facts)}", style="bold", highlight=False)
    extras = list(dict.fromkeys(key for row in rows for key in row.extra))
    table = table_of_numbers("version", ("seconds", "ratio", "goal", *extras))
    table.add_column("what", ratio=1)
    for row in rows:
        numbers = (_number(row.extra.get(key)) for key in extras)
        table.add_row(
            escape(row.name), _number(row.seconds), _ratio(row), _goal(row), *numbers, escape(row.what)
        )
    console.print(table, highlight=False)
    console.print()


def as_dict(row: Row) -> dict[str, Any]:
    """A row for JSON; ``met`` says whether its goal is met."""
    return {**asdict(row), "met": row.met}


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(Problem("--device cuda", "torch finds no GPU here", "leave it out, or say cpu"))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _status_line() -> Iterator[Tell]:
    """One updating line on a terminal's standard error; nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda message: None
        return
    with console.status("") as status:
        yield lambda message: status.update(escape(message))


def _keep(rows: Sequence[Row], device: torch.device) -> None:
    seconds = {row.name: row.seconds for row in rows if row.seconds and row.name in KEPT}
    path = keep_rates(device.type, torch.get_num_threads(), seconds)
    click.echo(f"kept for the estimates of dwp-sweep plan: {path}", err=True)


def _facts(facts: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {escape(str(value))}" for key, value in facts.items())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return ""
    return "1" if row.name == row.baseline else f"{row.ratio:.3g} of {escape(row.baseline or '')}"


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    verdict = {True: "[green]met[/]", False: "[yellow]missed[/]", None: ""}[row.met]
    return f"≤ {row.goal:g} {verdict}"
