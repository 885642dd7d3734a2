"""The paper's Table 3 of a sweep: test Dice, then IoU, mean (std) by training size and method or variant.

Reads a table of nodes (`tracking.results`), from MLflow or from a store. Where a grid or search tried
several configurations in one cell, validation picks the one that is shown. Whatever is missing is
named; nothing is averaged over silently.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import pandas as pd

from dwp_sweep.config.variants import SEPARATOR
from dwp_sweep.report.answers.cell import Cell, Target, cell_of
from dwp_sweep.tables import Table, TableCell, TableColumn, markdown, plain_text, table_row

CellT = TypeVar("CellT")
METRICS = {"test_dice": "Test Dice", "test_iou": "Test IoU"}
_MAX_COLUMNS = 5
"""More methods or variants than these become the rows: no more cells fit into a line of 100 characters, nor
into a page of 1,000 pixels."""


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
            mine = [
                target for target in targets if target.train_size == size and method in columns_of([target])
            ]
            for metric in METRICS:
                cells[metric][size][method], words = cell_of(mine, metric, repeats)
            notes += [f"{label}, m = {size}: {word}" for word in words]
    if n_val := validation_counts(targets):
        # A user with m labelled scans does not have these: the table must not hide what m really costs.
        notes.append(f"each network's epoch was chosen on {n_val} validation subjects, labelled too")
    n_empty = sum(int(target.metrics.get("n_test_empty", 0)) for target in targets if target.state == "done")
    if n_empty:
        notes.append(
            f"{n_empty} test prediction(s) on images without foreground found none either; they count as 1"
        )
    return PaperTable(sizes, methods, len(repeats), cells, tuple(notes))


def targets_of(results: pd.DataFrame) -> list[Target]:
    """The target nodes among the rows of `tracking.results`, in their order."""
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
        variants=tuple(_text(row.get("variant")).split(SEPARATOR)) if _text(row.get("variant")) else (),
        key=_text(row.get("key")),
        run_id=_text(row.get("run_id")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return 0 if pd.isna(value) else int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not pd.isna(value)


def columns_of(targets: Iterable[Target]) -> dict[str, str]:
    """What is compared -> its label: the variants, and the methods of runs that belong to none."""
    from dwp_sweep.methods import METHODS

    names = {name: name for target in targets for name in target.variants}
    plain = {target.method for target in targets if not target.variants}
    labels = names | {name: METHODS[name].label if name in METHODS else name for name in plain}
    # The paper's columns stand in the order of their labels: UNet-DWP, -PR, -PRf, -RI.
    return dict(sorted(labels.items(), key=lambda item: (item[1].casefold(), item[1])))


def validation_counts(targets: Iterable[Target]) -> str:
    """``8 or 9``: validation subjects of the runs; empty where none says it."""
    counts = {int(target.metrics["n_val"]) for target in targets if "n_val" in target.metrics}
    return " or ".join(map(str, sorted(counts)))
