"""Tables of one score by method (or variant) and training size: the paper's Tables 3 to 6, and their like.

Which configuration stands for a cell is decided by validation (`report.answers.runs`). A cell without a
number says why. Scans on which a score is undefined (a distance to an empty mask, the share of no lesions)
stay out of a run's mean; they are counted, so that means over different scans are not compared. Where methods
leave out different scans, `common_table` is the same table over the scans that all of them have.

Each table is shown on the page and kept as CSV, a row a cell, unrounded, and as LaTeX, as the page shows it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dwp_sweep.errors import InputError
from dwp_sweep.report.answers.paper_table import Cell, cell_of, header_by_size, is_wide, lines_by_size
from dwp_sweep.report.answers.runs import Repeat, Target, repeat_text
from dwp_sweep.report.answers.scores import Score
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.table_files import csv_text, latex_of
from dwp_sweep.report.paired.differences import number
from dwp_sweep.tables import Emphasis, Table, TableCell, left, plain_table, right, stat

Undefined = Mapping[Repeat, frozenset[str]]
"""By (split, seed): the test scans without this score."""
_Values = Mapping[str, Mapping[str, float]]
"""Method or variant -> scan -> value, of one split and seed."""


@dataclass(frozen=True)
class ScoreCell:
    """One method at one size.

    Attributes:
        cell: Mean and spread, or what is wrong.
        values: By (split, seed).
        undefined: Scans that the values leave out, by (split, seed).
        is_best: The best mean of its training size, where several have one over the same scans.
    """

    cell: Cell
    values: Mapping[Repeat, float]
    undefined: Undefined = field(default_factory=dict)
    is_best: bool = False

    @property
    def n_undefined(self) -> int:
        """Scans that the mean leaves out, over all runs."""
        return sum(len(scans) for scans in self.undefined.values())

    def text(self, digits: int) -> str:
        """``0.712 (0.021)``; ``2/3`` behind it where runs are missing; else the state in words.

        Scans that the mean leaves out are counted: ``, 4 undefined``.
        """
        return self.cell.text(digits) + (f", {self.n_undefined} undefined" if self.n_undefined else "")

    def about(self, digits: int) -> str:
        """How many runs are behind it and what each of them has, in words."""
        n = self.cell.summary.n if self.cell.summary else 0
        runs = "; ".join(
            f"{repeat_text(repeat)}: {value:.{digits}f}" for repeat, value in self.values.items()
        )
        left_out = "; ".join(
            f"{repeat_text(repeat)}: {len(scans)}" for repeat, scans in self.undefined.items() if scans
        )
        return (
            f"n = {n} of {self.cell.n_expected} runs"
            + (f" ({runs})" if runs else "")
            + (f"; scans on which it is undefined: {left_out}" if left_out else "")
        )


@dataclass(frozen=True)
class ScoreTable:
    """One score.

    Attributes:
        score: What it is.
        columns: Method or variant -> label.
        sizes: Training sizes, rising.
        n_repeats: Splits x seeds of a full cell.
        cells: Size -> method or variant -> cell.
        which: Over which scans, where not over all.
    """

    score: Score
    columns: Mapping[str, str]
    sizes: tuple[int, ...]
    n_repeats: int
    cells: Mapping[int, Mapping[str, ScoreCell]]
    which: str = ""

    @property
    def is_uneven(self) -> bool:
        """Whether methods of one size leave out different scans; then none of them is marked as the best."""
        return any(_is_uneven(row) for row in self.cells.values())

    @property
    def is_wide(self) -> bool:
        """Whether methods stand in the rows."""
        return is_wide(self.columns)

    @property
    def header(self) -> list[str]:
        """Texts above the columns; the first one stands above the names of the rows."""
        return header_by_size("Train size m", self.columns, self.sizes)

    def lines(self) -> list[tuple[str, list[ScoreCell]]]:
        """Rows: name and cells."""
        return lines_by_size(self.columns, self.sizes, self.cells)

    @property
    def caption(self) -> str:
        """What the numbers are."""
        runs = "run" if self.n_repeats == 1 else "runs"
        which = f", {self.which}" if self.which else ""
        over = f"{self.n_repeats} {runs} (splits × seeds)"
        return f"{self.score.title}, mean (std) over {over}{which}; {self.score.way}"

    def table(self) -> Table:
        """As the page shows it: the best of each size bold, how many runs in what is said about a cell."""
        digits = self.score.digits
        rows: list[list[str | TableCell]] = []
        for name, cells in self.lines():
            row: list[str | TableCell] = [name]
            for cell in cells:
                emphasis: Emphasis = "strong" if cell.is_best else "" if cell.cell.summary else "bad"
                row.append(TableCell(cell.text(digits), emphasis, about=cell.about(digits)))
            rows.append(row)
        first, *others = self.header
        return plain_table([*left(first), *right(*others)], rows, self.caption)

    def files(self) -> dict[str, str]:
        """File name -> text, as CSV and LaTeX."""
        name = self.score.name
        return {f"{name}.csv": self.csv(), f"{name}.tex": latex_of(self.table(), f"tab:{name}")}

    def csv(self) -> str:
        """A row a cell; the values of its runs stand in the last column."""
        lines: list[Sequence[object]] = [
            (
                "score",
                "m",
                "method",
                "label",
                "mean",
                "std",
                "n",
                "n_expected",
                "n_undefined",
                "state",
                "runs",
            )
        ]
        for size, row in self.cells.items():
            for name, cell in row.items():
                summary, n_expected = cell.cell.summary, cell.cell.n_expected
                runs = "; ".join(f"{repeat_text(repeat)}: {value!r}" for repeat, value in cell.values.items())
                is_complete = summary is not None and summary.n == n_expected
                lines.append([
                    self.score.name, size, name, self.columns[name],
                    *((summary.mean, summary.std, summary.n) if summary else (None, None, 0)), n_expected,
                    cell.n_undefined, "complete" if is_complete else cell.cell.state, runs,
                ])  # fmt: skip
        return csv_text(lines)


def score_table(evidence: Evidence, score: Score) -> ScoreTable | None:
    """The table of one score; None where no run has it."""
    cells = {
        size: _with_best({name: _cell(evidence, name, size, score) for name in evidence.columns}, score)
        for size in evidence.sizes
    }
    if not any(cell.cell.summary for row in cells.values() for cell in row.values()):
        return None
    return ScoreTable(score, evidence.columns, evidence.sizes, len(evidence.repeats), cells)


def common_table(evidence: Evidence, table: ScoreTable) -> ScoreTable | None:
    """The same table over common scans; None where no two methods have one."""
    score = replace(table.score, name=f"{table.score.name}_common_scans")
    cells, n_common, n_all = {}, 0, 0
    for size in table.sizes:
        values = {repeat: _values_by_method(evidence, table, size, repeat) for repeat in evidence.repeats}
        common = {repeat: _common(by_method) for repeat, by_method in values.items()}
        n_common += sum(len(scans) for scans in common.values())
        for repeat, by_method in values.items():
            left_out = (cell.undefined.get(repeat, frozenset()) for cell in table.cells[size].values())
            n_all += len(frozenset().union(*by_method.values(), *left_out))
        row = {name: _common_cell(name, table.cells[size][name], values, common) for name in table.columns}
        cells[size] = _with_best(row, score)
    if not n_common:
        return None
    which = f"on common scans ({n_common} of {n_all}, over all sizes and runs)"
    return replace(table, score=score, cells=cells, which=which)


def _with_best(cells: dict[str, ScoreCell], score: Score) -> dict[str, ScoreCell]:
    """Cells of one training size, the best mean marked where all of them are over the same scans."""
    means = {name: cell.cell.summary.mean for name, cell in cells.items() if cell.cell.summary}
    if len(means) < 2 or score.lower_is_better is None or _is_uneven(cells):
        return cells
    best = (min if score.lower_is_better else max)(means.values())
    return {name: replace(cell, is_best=means.get(name) == best) for name, cell in cells.items()}


def _is_uneven(cells: Mapping[str, ScoreCell]) -> bool:
    """Whether runs of one split and seed leave out different scans, so that means differ by that too."""
    by_repeat: dict[Repeat, set[frozenset[str]]] = {}
    for cell in cells.values():
        for repeat, scans in cell.undefined.items():
            by_repeat.setdefault(repeat, set()).add(scans)
    return any(len(different) > 1 for different in by_repeat.values())


def _cell(evidence: Evidence, name: str, size: int, score: Score) -> ScoreCell:
    cell, _ = cell_of(evidence.of(name, size), score.name, evidence.repeats)
    runs = {repeat: run for repeat, run in sorted(evidence.chosen(name, size).items()) if run.state == "done"}
    values = {repeat: run.metrics[score.name] for repeat, run in runs.items() if score.name in run.metrics}
    return ScoreCell(cell, values, {repeat: _undefined(evidence, run, score) for repeat, run in runs.items()})


def _undefined(evidence: Evidence, run: Target, score: Score) -> frozenset[str]:
    """The scans that a run's mean leaves out."""
    n = int(run.metrics.get(score.n_undefined, 0))
    if not n:
        return frozenset()
    try:
        scores = evidence.scores(run.key, run.run_id)
    except InputError:
        # How many is known and not which: they count as other scans than any other run's.
        return frozenset(f"scan {place} of {run.key or run.run_id}" for place in range(n))
    return frozenset(scan for scan, values in scores.items() if number(values.get(score.by_scan)) is None)


def _values_by_method(evidence: Evidence, table: ScoreTable, size: int, repeat: Repeat) -> _Values:
    by_method: dict[str, dict[str, float]] = {}
    for name in table.columns:
        run = evidence.chosen(name, size).get(repeat)
        if run is None or run.state != "done":
            continue
        try:
            scores = evidence.scores(run.key, run.run_id)
        except InputError:
            continue
        values = {scan: number(of_scan.get(table.score.by_scan)) for scan, of_scan in scores.items()}
        if defined := {scan: value for scan, value in values.items() if value is not None}:
            by_method[name] = defined
    return by_method


def _common(values: _Values) -> frozenset[str]:
    return frozenset.intersection(*map(frozenset, values.values())) if len(values) > 1 else frozenset()


def _common_cell(
    name: str, whole: ScoreCell, values: Mapping[Repeat, _Values], common: Mapping[Repeat, frozenset[str]]
) -> ScoreCell:
    means = {
        repeat: statistics.fmean(values[repeat][name][scan] for scan in scans)
        for repeat, scans in common.items()
        if scans and name in values[repeat]
    }
    state = whole.cell.state if whole.cell.summary is None else "no common scan"
    return ScoreCell(Cell(stat(list(means.values())), whole.cell.n_expected, state), means)
