"""Tables of one score by method (or variant) and training size: the paper's Tables 3 to 6, and their like.

Which configuration stands for a cell is decided by validation (`report.answers.cell`). A cell without a
number says why. Scans on which a score is undefined (a distance to an empty mask, the share of no lesions)
stay out of a run's mean; they are counted, so that means over different scans are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dwp_sweep.errors import InputError
from dwp_sweep.report.answers.cell import Cell, Repeat, Target, cell_of, repeat_text
from dwp_sweep.report.answers.scores import Score
from dwp_sweep.report.answers.table import header_by_size, is_wide, lines_by_size
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.paired.differences import number

Undefined = Mapping[Repeat, frozenset[str]]
"""By (split, seed): the test scans without this score."""


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
        found = self.cell.summary
        if found is None:
            return self.cell.state + left_out
        short = f" {found.n}/{self.cell.n_expected}" if found.n < self.cell.n_expected else ""
        spread = f" ({found.std:.{digits}f})" if found.std is not None else ""
        return f"{found.mean:.{digits}f}{spread}{short}{left_out}"

    def about(self, digits: int) -> str:
        """How many runs are behind it and what each of them has, in words."""
        n = self.cell.summary.n if self.cell.summary else 0
        runs = "; ".join(
            f"{repeat_text(repeat)}: {value:.{digits}f}" for repeat, value in self.values.items()
        )
        left_out = "; ".join(
            f"{repeat_text(one)}: {len(scans)}" for one, scans in self.undefined.items() if scans
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
        """Whether methods of one size leave out different scans: then no best one is marked there."""
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
    means = {name: one.cell.summary.mean for name, one in cells.items() if one.cell.summary}
    if len(means) < 2 or score.lower_is_better is None:
        return cells
    if is_uneven(one.undefined for one in cells.values()):
        return cells
    best = (min if score.lower_is_better else max)(means.values())
    return {name: replace(one, is_best=means.get(name) == best) for name, one in cells.items()}


def notes_on_cells(evidence: Evidence) -> list[str]:
    """What is missing, failed or chosen, cell by cell, in words."""
    return [
        f"{label}, m = {size}: {word}"
        for size in evidence.sizes
        for name, label in evidence.columns.items()
        for word in cell_of(evidence.of(name, size), "test_dice", evidence.repeats)[1]
    ]


def _cell(evidence: Evidence, name: str, size: int, score: Score) -> ScoreCell:
    cell, _ = cell_of(evidence.of(name, size), score.name, evidence.repeats)
    runs = evidence.chosen(name, size)
    values = {
        repeat: run.metrics[score.name]
        for repeat, run in sorted(runs.items())
        if run.state == "done" and score.name in run.metrics
    }
    return ScoreCell(cell, values, undefined_scans(evidence, runs, score))


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
