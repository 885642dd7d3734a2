"""The paper's Table 3 of a sweep: test Dice, then IoU, mean (std) by training size and method.

Reads a table of nodes (`tracking.results`), from MLflow or from a store. Where a grid or search tried
several configurations in one cell, validation picks the one that is shown. Whatever is missing is
named; nothing is averaged over silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dwp_sweep.report.cell import Cell, Target, cell_of

METRICS = {"test_dice": "Test Dice", "test_iou": "Test IoU"}


@dataclass(frozen=True)
class PaperTable:
    """Mean and spread by metric, training size and method.

    Attributes:
        sizes: Training sizes, rising: the rows.
        methods: Method -> label: the columns.
        n_repeats: Splits x seeds that a full cell has.
        cells: Metric -> size -> method -> cell.
        notes: What is missing, failed or chosen, in words.
    """

    sizes: tuple[int, ...]
    methods: Mapping[str, str]
    n_repeats: int
    cells: Mapping[str, Mapping[int, Mapping[str, Cell]]]
    notes: tuple[str, ...]

    def title(self, metric: str) -> str:
        """Heading of one metric's part."""
        plural = "" if self.n_repeats == 1 else "s"
        return f"{METRICS[metric]}, mean (std) over {self.n_repeats} run{plural} (splits x seeds)"

    def rows(self, metric: str) -> list[list[str]]:
        """Texts of one metric's part: the size, then a cell a method."""
        cells = self.cells[metric]
        return [[str(size), *(cells[size][method].text() for method in self.methods)] for size in self.sizes]

    def text(self) -> str:
        """Plain text, for logs and terminals without colour."""
        return self._joined("{}\n{}", _aligned)

    def markdown(self) -> str:
        """A Markdown table for each metric, and the notes."""
        return self._joined("**{}**\n\n{}", _markdown)

    def json(self) -> str:
        """The numbers, unrounded."""
        values = asdict(self) | {"methods": dict(self.methods)}
        return json.dumps(values, indent=1, allow_nan=False)

    def _joined(self, form: str, drawn: Callable[[list[list[str]]], str]) -> str:
        header = ["m", *self.methods.values()]
        parts = [form.format(self.title(metric), drawn([header, *self.rows(metric)])) for metric in METRICS]
        notes = "\n".join(f"* {note}" for note in self.notes)
        return "\n\n".join([*parts, notes] if notes else parts)


def paper_table(results: pd.DataFrame) -> PaperTable:
    """Summarise the target nodes of a sweep.

    Args:
        results: From `tracking.results`: `results` or `results_of_store`.
    """
    targets = _targets(results)
    repeats = sorted({target.repeat for target in targets})
    sizes = tuple(sorted({target.train_size for target in targets}))
    methods = _labels({target.method for target in targets})
    cells: dict[str, dict[int, dict[str, Cell]]] = {name: {size: {} for size in sizes} for name in METRICS}
    notes: list[str] = []
    for size in sizes:
        for method, label in methods.items():
            mine = [target for target in targets if (target.method, target.train_size) == (method, size)]
            for metric in METRICS:
                cells[metric][size][method], words = cell_of(mine, metric, repeats)
            notes += [f"{label}, m = {size}: {word}" for word in words]
    notes += [*_notes_on_validation(targets), *_notes_on_empty(targets)]
    return PaperTable(sizes, methods, len(repeats), cells, tuple(notes))


def render_table(table: PaperTable, console: Console) -> None:
    """Print the table with rich; in each row the best mean is bold."""
    for metric in METRICS:
        shown = Table(title=table.title(metric), title_justify="left", title_style="bold")
        shown.add_column("m", justify="right")
        for label in table.methods.values():
            shown.add_column(escape(label), justify="right")
        for size, texts in zip(table.sizes, table.rows(metric), strict=True):
            best = _best_text(table.cells[metric][size])
            shown.add_row(*(f"[bold]{escape(text)}[/]" if text == best else escape(text) for text in texts))
        console.print(shown)
    for note in table.notes:
        console.print(f"[yellow]*[/] {escape(note)}")


def _targets(results: pd.DataFrame) -> list[Target]:
    rows = results[(results["stage"] == "target") & results["method"].notna() & results["train_size"].notna()]
    return [_target(row) for row in rows.to_dict("records")]


def _target(row: Mapping[Any, Any]) -> Target:
    return Target(
        method=str(row["method"]),
        train_size=int(row["train_size"]),
        repeat=(_number(row["split"]), _number(row["seed"])),
        configuration=str(row["configuration"]),
        state=str(row["state"]),
        error=str(row["error"] or ""),
        metrics={str(name): float(value) for name, value in row.items() if _is_number(value)},
    )


def _number(value: Any) -> int:
    return 0 if pd.isna(value) else int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not pd.isna(value)


def _labels(methods: set[str]) -> dict[str, str]:
    from dwp_sweep.methods import METHODS

    labels = {name: METHODS[name].label if name in METHODS else name for name in methods}
    # The paper's columns stand in the order of their labels: UNet-DWP, -PR, -PRf, -RI.
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _notes_on_validation(targets: list[Target]) -> list[str]:
    # A user with m labelled scans does not have these: the table must not hide what m really costs.
    counts = sorted({int(target.metrics["n_val"]) for target in targets if "n_val" in target.metrics})
    if not counts:
        return []
    counted = " or ".join(map(str, counts))
    return [f"each network's epoch was chosen on {counted} validation subjects, labelled too"]


def _notes_on_empty(targets: list[Target]) -> list[str]:
    n_empty = sum(int(target.metrics.get("n_test_empty", 0)) for target in targets if target.state == "done")
    if not n_empty:
        return []
    return [f"{n_empty} test prediction(s) on images without foreground found none either; they count as 1"]


def _best_text(cells: Mapping[str, Cell]) -> str:
    known = [cell for cell in cells.values() if cell.summary is not None]
    if len(known) < 2:
        return ""
    return max(known, key=lambda cell: cell.summary.mean if cell.summary else 0.0).text()


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[text.rjust(width) for text, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line) for line in padded)


def _markdown(lines: list[list[str]]) -> str:
    header, *rows = [[text.replace("|", "\\|") for text in line] for line in lines]
    lines = [header, ["--:"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
