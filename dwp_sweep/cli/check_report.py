"""What ``data check`` shows: a table of the subjects and its sum, problems and warnings, a picture."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dwp_sweep.cli.terminal import print_line
from dwp_sweep.data.check.check import CheckReport
from dwp_sweep.data.config import DatasetConfig

N_IN_PICTURE = 6
_MAX_KINDS = 4


def show_check(report: CheckReport, path: Path) -> None:
    """Print the table to standard output, a summary, then every warning and problem, then the verdict."""
    console = Console(soft_wrap=True)
    if report.subjects:
        console.print(_table(report))
        for line in summary_lines(report):
            print_line(console, line)
    for word, style, problems in (
        ("warning", "yellow", report.warnings),
        ("problem", "red", report.problems),
    ):
        for problem in problems:
            console.print(f"[{style}]{word}[/{style}] ", end="")
            print_line(console, str(problem))
    subjects = _count(len(report.subjects), "subject")
    if report.problems:
        n_problems = _count(len(report.problems), "problem")
        verdict = (
            f"[bold red]{escape(str(path))}: not usable as it is: {n_problems}, {subjects} without any[/]"
        )
    else:
        n_suspicious = sum(bool(row.suspicions) for row in report.subjects)
        look = f", {n_suspicious} of them worth a look" if n_suspicious else ""
        verdict = f"[bold green]{escape(str(path))}: {subjects}, ready to use{look}[/]"
    console.print(verdict, highlight=False)


def summary_lines(report: CheckReport) -> list[str]:
    """What the subjects have in common: shapes, voxel sizes and labels with their counts, foreground."""
    rows = report.subjects
    shares = sorted(row.foreground_share for row in rows)
    channels = _count(rows[0].input_shape[0], "channel")
    lines = {
        "voxels": _shapes([row.shape for row in rows]),
        "mm": _counted(_joined(row.spacing_mm, "{:.3g}") for row in rows),
        "labels": _counted(",".join(map(str, row.labels)) for row in rows),
        "foreground": f"{shares[0]:.2%} to {shares[-1]:.2%}, median {median(shares):.2%}",
        "input": f"{channels} of {_shapes([row.input_shape[1:] for row in rows])}",
    }
    return [f"{name:<11}{text}" for name, text in lines.items()]


def check_as_json(report: CheckReport) -> str:
    """The whole report for programs: ``subjects``, ``problems``, ``warnings``, ``unusable``."""
    return json.dumps(asdict(report), indent=1, default=str)


def draw_overview(config: DatasetConfig, report: CheckReport, picture: Path) -> None:
    """Draw slices of some subjects as training gets them, suspicious ones first, with the mask's outline."""
    from dwp_sweep.data.cache.cases import load_cases
    from dwp_sweep.data.check.overview import write_overview
    from dwp_sweep.data.layouts import list_subjects

    rows = sorted(report.subjects, key=lambda row: not row.suspicions)[:N_IN_PICTURE]
    subjects = {subject.id: subject for subject in list_subjects(config)}
    with tempfile.TemporaryDirectory(prefix="dwp_sweep_") as cache:
        cases = load_cases(config, [subjects[row.id] for row in rows], Path(cache))
        picture.parent.mkdir(parents=True, exist_ok=True)
        notes = {
            row.id: "\n".join([f"{row.foreground_share:.2%} foreground", *row.suspicions]) for row in rows
        }
        title = f"{config.root}: {len(rows)} of {_count(len(report.subjects), 'subject')}"
        write_overview(cases, picture, title, notes, config.preprocess.orientation)


def _table(report: CheckReport) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("subject", overflow="fold")
    for name in ("voxels", "mm", "foreground", "labels"):
        table.add_column(name, justify="right", no_wrap=True)
    if any(row.suspicions for row in report.subjects) or report.unusable:
        table.add_column("look at", overflow="fold")
    rows = {
        row.id: [
            escape(row.id),
            _joined(row.shape, "{:d}"),
            _joined(row.spacing_mm, "{:.3g}"),
            f"{row.foreground_share:.2%}",
            ",".join(map(str, row.labels)),
            f"[yellow]{escape(', '.join(row.suspicions))}[/]" if row.suspicions else "",
        ]
        for row in report.subjects
    }
    for name, problems in report.unusable.items():
        rows[name] = [escape(name), "", "", "", "", f"[red]{_count(len(problems), 'problem')}, below[/]"]
    for name in sorted(rows):
        table.add_row(*rows[name][: len(table.columns)])
    return table


def _joined(numbers: Sequence[float], form: str) -> str:
    return "x".join(form.format(number) for number in numbers)


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    """Few kinds one by one, many as the smallest and largest number of each axis."""
    if len(set(shapes)) <= _MAX_KINDS:
        return _counted(_joined(shape, "{:d}") for shape in shapes)
    axes = list(zip(*shapes, strict=True))
    least, most = [min(axis) for axis in axes], [max(axis) for axis in axes]
    return f"{_joined(least, '{:d}')} to {_joined(most, '{:d}')}"


def _counted(texts: Iterable[str]) -> str:
    """The different texts, the most frequent first, with how often each is there."""
    counts = Counter(texts).most_common()
    shown = ", ".join(f"{text} ({n})" for text, n in counts[:_MAX_KINDS])
    return shown + (f" and {len(counts) - _MAX_KINDS} more" if len(counts) > _MAX_KINDS else "")


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
