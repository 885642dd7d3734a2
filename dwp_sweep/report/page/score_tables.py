"""Tables of one score by method (or variant) and training size: the paper's Tables 3 to 6, and their like.

Which configuration stands for a cell is decided by validation (`report.answers.cell`). A cell without a
number says why. Scans on which a score is undefined (a distance to an empty mask, the share of no lesions)
stay out of a run's mean; they are counted, so that means over different scans are not compared. Where methods
leave out different scans, `common_table` is the same table over the scans that all of them have.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dwp_sweep.errors import InputError
from dwp_sweep.report.answers.cell import Cell, Repeat, Target, cell_of, repeat_text
from dwp_sweep.report.answers.scores import Score
from dwp_sweep.report.answers.table import header_by_size, is_wide, lines_by_size
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.paired.differences import number
from dwp_sweep.tracking.read.configuration import stat

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
        left_out = f", {self.n_undefined} undefined" if self.n_undefined else ""
        summary = self.cell.summary
        if summary is None:
            return self.cell.state + left_out
        short = f" {summary.n}/{self.cell.n_expected}" if summary.n < self.cell.n_expected else ""
        spread = f" ({summary.std:.{digits}f})" if summary.std is not None else ""
        return f"{summary.mean:.{digits}f}{spread}{short}{left_out}"

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
        return any(is_uneven(cell.undefined for cell in row.values()) for row in self.cells.values())

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


def score_table(evidence: Evidence, score: Score) -> ScoreTable | None:
    """The table of one score; None where no run has it."""
    cells = {
        size: with_best({name: _cell(evidence, name, size, score) for name in evidence.columns}, score)
        for size in evidence.sizes
    }
    if not any(cell.cell.summary for row in cells.values() for cell in row.values()):
        return None
    return ScoreTable(score, evidence.columns, evidence.sizes, len(evidence.repeats), cells)


def with_best(cells: dict[str, ScoreCell], score: Score) -> dict[str, ScoreCell]:
    """Cells of one training size, the best mean marked where all of them are over the same scans."""
    means = {name: cell.cell.summary.mean for name, cell in cells.items() if cell.cell.summary}
    if len(means) < 2 or score.lower_is_better is None:
        return cells
    if is_uneven(cell.undefined for cell in cells.values()):
        return cells
    best = (min if score.lower_is_better else max)(means.values())
    return {name: replace(cell, is_best=means.get(name) == best) for name, cell in cells.items()}


def notes_on_cells(evidence: Evidence) -> list[str]:
    """What is missing, failed or chosen, cell by cell, in words."""
    return [
        f"{label}, m = {size}: {word}"
        for size in evidence.sizes
        for name, label in evidence.columns.items()
        for word in cell_of(evidence.of(name, size), "test_dice", evidence.repeats)[1]
    ]


def undefined_scans(evidence: Evidence, runs: Mapping[Repeat, Target], score: Score) -> Undefined:
    """Of each finished run the scans that its mean leaves out."""
    return {
        repeat: _of_run(evidence, run, score) for repeat, run in sorted(runs.items()) if run.state == "done"
    }


def is_uneven(cells: Iterable[Undefined]) -> bool:
    """Whether runs of one split and seed leave out different scans, so that means differ by that too."""
    by_repeat: dict[Repeat, set[frozenset[str]]] = {}
    for cell in cells:
        for repeat, scans in cell.items():
            by_repeat.setdefault(repeat, set()).add(scans)
    return any(len(different) > 1 for different in by_repeat.values())


def defined_values(evidence: Evidence, run: Target, score: Score) -> dict[str, float]:
    """A run's values by scan, without the undefined ones.

    Raises:
        InputError: Its scores cannot be read.
    """
    scores = evidence.scores(run.key, run.run_id)
    values = {scan: number(one.get(score.by_scan)) for scan, one in scores.items()}
    return {scan: value for scan, value in values.items() if value is not None}


def common_table(evidence: Evidence, table: ScoreTable) -> ScoreTable | None:
    """The same table over common scans; None where no two methods have one."""
    score = replace(table.score, name=f"{table.score.name}_common_scans")
    cells, n_common, n_all = {}, 0, 0
    for size in table.sizes:
        found = {repeat: _values_by_method(evidence, table, size, repeat) for repeat in evidence.repeats}
        common = {repeat: _common(values) for repeat, values in found.items()}
        n_common += sum(len(scans) for scans in common.values())
        n_all += sum(len(_all(values, repeat, table.cells[size])) for repeat, values in found.items())
        row = {name: _common_cell(name, table.cells[size][name], found, common) for name in table.columns}
        cells[size] = with_best(row, score)
    if not n_common:
        return None
    which = f"on common scans ({n_common} of {n_all}, over all sizes and runs)"
    return replace(table, score=score, cells=cells, which=which)


def _cell(evidence: Evidence, name: str, size: int, score: Score) -> ScoreCell:
    cell, _ = cell_of(evidence.of(name, size), score.name, evidence.repeats)
    runs = evidence.chosen(name, size)
    values = {
        repeat: run.metrics[score.name]
        for repeat, run in sorted(runs.items())
        if run.state == "done" and score.name in run.metrics
    }
    return ScoreCell(cell, values, undefined_scans(evidence, runs, score))


def _of_run(evidence: Evidence, run: Target, score: Score) -> frozenset[str]:
    n = int(run.metrics.get(score.n_undefined, 0))
    if not n:
        return frozenset()
    try:
        scores = evidence.scores(run.key, run.run_id)
    except InputError:
        # How many is known and not which: they count as other scans than any other run's.
        return frozenset(f"scan {place} of {run.key or run.run_id}" for place in range(n))
    return frozenset(scan for scan, one in scores.items() if number(one.get(score.by_scan)) is None)


def _values_by_method(evidence: Evidence, table: ScoreTable, size: int, repeat: Repeat) -> _Values:
    by_method = {}
    for name in table.columns:
        run = evidence.chosen(name, size).get(repeat)
        if run is not None and run.state == "done" and (values := _read(evidence, run, table.score)):
            by_method[name] = values
    return by_method


def _common(values: _Values) -> frozenset[str]:
    return frozenset.intersection(*map(frozenset, values.values())) if len(values) > 1 else frozenset()


def _all(values: _Values, repeat: Repeat, cells: Mapping[str, ScoreCell]) -> frozenset[str]:
    left_out = (cell.undefined.get(repeat, frozenset()) for cell in cells.values())
    return frozenset().union(*values.values(), *left_out)


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


def _read(evidence: Evidence, run: Target, score: Score) -> Mapping[str, float]:
    try:
        return defined_values(evidence, run, score)
    except InputError:
        return {}
