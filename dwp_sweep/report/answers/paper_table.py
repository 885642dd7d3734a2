"""The paper's Table 3 of a sweep: test Dice, then IoU, mean (std) by training size and method or variant.

Reads a table of nodes (`tracking.results`), from MLflow or from a store. Whatever is missing is named;
nothing is averaged over silently. Where methods are many they become the rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import pandas as pd

from dwp_sweep.report.answers.runs import (
    Repeat,
    Target,
    chosen_runs,
    columns_of,
    repeat_text,
    runs_of,
    targets_of,
    validation_counts,
)
from dwp_sweep.report.answers.scores import OVERLAP
from dwp_sweep.report.answers.spread import spread_notes
from dwp_sweep.tables import Stat, Table, TableCell, TableColumn, markdown, plain_text, stat, table_row

CellT = TypeVar("CellT")
METRICS = {score.name: score.title for score in OVERLAP}
_MAX_COLUMNS = 5
"""More methods or variants than these become the rows: no more cells fit into a line of 100 characters, nor
into a page of 1,000 pixels."""


@dataclass(frozen=True)
class Cell:
    """Summary of one method at one size.

    Attributes:
        summary: None where no run has the metric.
        n_expected: Splits x seeds that the sweep has.
        state: What to show without a summary: failed, blocked, running, stopped, missing.
    """

    summary: Stat | None
    n_expected: int
    state: str

    def text(self, digits: int = 3) -> str:
        """``0.712 (0.021)``, with ``2/3`` behind it where runs are missing."""
        if self.summary is None:
            return self.state
        short = f" {self.summary.n}/{self.n_expected}" if self.summary.n < self.n_expected else ""
        spread = f" ({self.summary.std:.{digits}f})" if self.summary.std is not None else ""
        return f"{self.summary.mean:.{digits}f}{spread}{short}"


@dataclass(frozen=True)
class PaperTable:
    """Mean and spread by metric, training size and method (or variant, where the sweep has variants).

    Attributes:
        sizes: Training sizes, rising: the rows.
        methods: Method or variant -> label: the columns; the rows where they are many.
        n_repeats: Splits x seeds that a full cell has.
        cells: Metric -> size -> method or variant -> cell.
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

    @property
    def header(self) -> list[str]:
        """Texts above the columns."""
        return header_by_size("m", self.methods, self.sizes)

    def rows(self, metric: str) -> list[list[str]]:
        """Texts of one metric's part: the size, then a cell a method; the other way round where wide."""
        return [[name, *(cell.text() for cell in cells)] for name, cells in self.lines(metric)]

    def lines(self, metric: str) -> list[tuple[str, list[Cell]]]:
        """The same with the cells themselves."""
        return lines_by_size(self.methods, self.sizes, self.cells[metric])

    def best(self, metric: str) -> set[int]:
        """Identities of the cells with the best mean of their training size, where there is a choice."""
        best = set()
        for by_method in self.cells[metric].values():
            means = {id(cell): cell.summary.mean for cell in by_method.values() if cell.summary}
            if len(means) > 1:
                best.add(max(means, key=lambda name: means[name]))
        return best

    def tables(self) -> tuple[Table, ...]:
        """A table a metric, the best mean of each training size bold; the notes belong to the last."""
        tables = []
        for metric in METRICS:
            best, (first, *others) = self.best(metric), self.header
            columns = [TableColumn(first, "right" if first else "left")]
            columns += [TableColumn(label, "right") for label in others]
            rows = tuple(
                table_row(
                    [name, *(TableCell(cell.text(), "strong" if id(cell) in best else "") for cell in cells)]
                )
                for name, cells in self.lines(metric)
            )
            tables.append(Table(tuple(columns), rows, self.title(metric)))
        return *tables[:-1], replace(tables[-1], notes=self.notes)

    def text(self) -> str:
        """Plain text, for logs and terminals without colour."""
        return plain_text(*self.tables())

    def markdown(self) -> str:
        """A Markdown table for each metric, and the notes."""
        return markdown(*self.tables())

    def json(self) -> str:
        """The numbers, unrounded."""
        values = asdict(self) | {"methods": dict(self.methods)}
        return json.dumps(values, indent=1, allow_nan=False)


def is_wide(columns: Mapping[str, str]) -> bool:
    """Whether methods stand in the rows and training sizes in the columns; the paper has it the other way."""
    return len(columns) > _MAX_COLUMNS


def header_by_size(corner: str, columns: Mapping[str, str], sizes: Sequence[int]) -> list[str]:
    """Texts above a table of training sizes and methods; the corner is empty where methods are the rows.

    Args:
        corner: What the sizes are called, where they are the rows.
        columns: Method or variant -> label.
        sizes: Training sizes, rising.
    """
    if is_wide(columns):
        return ["", *(f"m = {size}" for size in sizes)]
    return [corner, *columns.values()]


def lines_by_size(
    columns: Mapping[str, str], sizes: Sequence[int], cells: Mapping[int, Mapping[str, CellT]]
) -> list[tuple[str, list[CellT]]]:
    """Name and cells of each row: a training size, as in the paper, or a method where these are many."""
    if is_wide(columns):
        return [(label, [cells[size][name] for size in sizes]) for name, label in columns.items()]
    return [(str(size), [cells[size][name] for name in columns]) for size in sizes]


def paper_table(results: pd.DataFrame) -> PaperTable:
    """Summarise the target nodes of a sweep.

    Args:
        results: From `tracking.results`: `results` or `results_of_store`.
    """
    targets = targets_of(results)
    repeats = sorted({target.repeat for target in targets})
    sizes = tuple(sorted({target.train_size for target in targets}))
    methods = columns_of(targets)
    cells: dict[str, dict[int, dict[str, Cell]]] = {name: {size: {} for size in sizes} for name in METRICS}
    notes: list[str] = []
    for size in sizes:
        for method, label in methods.items():
            mine = runs_of(targets, method, size)
            for metric in METRICS:
                cells[metric][size][method], words = cell_of(mine, metric, repeats)
            notes += [f"{label}, m = {size}: {word}" for word in words]
    if n_val := validation_counts(targets):
        # A user with m labelled scans does not have these: the table must not hide what m really costs.
        notes.append(f"each network's epoch was chosen on {n_val} validation subjects, labelled too")
    notes += spread_notes(targets)
    n_empty = sum(int(target.metrics.get("n_test_empty", 0)) for target in targets if target.state == "done")
    if n_empty:
        notes.append(
            f"{n_empty} test prediction(s) on images without foreground found none either; they count as 1"
        )
    return PaperTable(sizes, methods, len(repeats), cells, tuple(notes))


def cell_of(targets: Sequence[Target], metric: str, repeats: Sequence[Repeat]) -> tuple[Cell, list[str]]:
    """A cell and the words that belong to it.

    Args:
        targets: Runs of one method at one size, oldest first.
        metric: What to summarise.
        repeats: Every (split, seed) of the sweep.
    """
    chosen, n_configurations = chosen_runs(targets)
    if not chosen:
        return Cell(None, len(repeats), "missing"), ["no run"]
    done = [target for target in chosen.values() if target.state == "done"]
    summary = stat([target.metrics[metric] for target in done if metric in target.metrics])
    words = [_words(chosen.get(repeat), repeat) for repeat in repeats]
    if n_configurations > 1:
        which = _which(next(iter(chosen.values())))
        words.insert(0, f"the best of {n_configurations} configurations by validation Dice{which}")
    states = {target.state for target in chosen.values()}
    order = ("failed", "blocked", "running", "stopped", "pruned", "missing", "done")
    state = next((state for state in order if state in states), "missing").replace("done", "no value")
    return Cell(summary, len(repeats), state), [word for word in words if word]


def _which(target: Target) -> str:
    """``: trial 3, prior.latent_dim=4``; empty where the sweep asks about nothing else."""
    parts = [*([] if target.trial is None else [f"trial {target.trial}"]), target.settings]
    text = ", ".join(filter(None, parts))
    return f": {text}" if text else ""


def _words(target: Target | None, repeat: Repeat) -> str:
    """What is wrong with a run; empty where it is done."""
    place = repeat_text(repeat)
    if target is None:
        return f"{place}: no run"
    if target.state == "done":
        return ""
    return f"{place}: {target.state}" + (f": {target.error}" if target.error else "")
