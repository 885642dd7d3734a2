"""What ``data check`` shows: a table of the subjects, problems and warnings, a picture."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dwp_sweep.data.check import CheckReport
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.errors import Problem

N_IN_PICTURE = 6


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while files are read; nothing where that is no terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show_check(report: CheckReport, path: Path) -> None:
    """Print the table to standard output, then every warning and problem, then the verdict."""
    console = Console(soft_wrap=True)
    if report.subjects:
        console.print(_table(report))
    _list(console, "warning", "yellow", report.warnings)
    _list(console, "problem", "red", report.problems)
    n = len(report.subjects)
    if report.problems:
        console.print(
            f"{path}: not usable as it is: {_count(len(report.problems), 'problem')}", style="bold red"
        )
    else:
        console.print(f"{path}: {_count(n, 'subject')}, ready to use", style="bold green")


def check_as_json(report: CheckReport) -> str:
    """The whole report for programs: ``subjects``, ``problems``, ``warnings``."""
    return json.dumps(asdict(report), indent=1, default=str)


def draw_overview(config: DatasetConfig, picture: Path) -> None:
    """Draw a slice of the first subjects, prepared as for training, with the mask's outline."""
    from dwp_sweep.data.cache import load_cases
    from dwp_sweep.data.layouts import list_subjects
    from dwp_sweep.data.overview import write_overview

    with tempfile.TemporaryDirectory(prefix="dwp_sweep_") as cache:
        cases = load_cases(config, list_subjects(config)[:N_IN_PICTURE], Path(cache))
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_overview(cases, picture)


def _table(report: CheckReport) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("subject", overflow="fold")
    for name in ("voxels", "mm", "foreground", "labels"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.subjects:
        table.add_row(
            row.id,
            _joined(row.shape, "{:d}"),
            _joined(row.spacing_mm, "{:.3g}"),
            f"{row.foreground_share:.2%}",
            ",".join(map(str, row.labels)),
        )
    return table


def _list(console: Console, word: str, style: str, items: Sequence[Problem]) -> None:
    for item in items:
        console.print(f"[{style}]{word}[/{style}] ", end="")
        console.print(str(item), markup=False, highlight=False)


def _joined(numbers: Sequence[float], form: str) -> str:
    return "x".join(form.format(number) for number in numbers)


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
