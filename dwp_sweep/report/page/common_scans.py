"""A score's table over the scans on which it is defined for every method: what may be compared.

Stands below the table over all scans where methods leave out different ones. A method that has no value at
all in a run would leave no scan to anybody: it is left out of that run instead.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace

from dwp_sweep.errors import InputError
from dwp_sweep.report.answers.cell import Cell, Repeat, Target
from dwp_sweep.report.answers.scores import Score
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.score_tables import ScoreCell, ScoreTable, defined_values, with_best
from dwp_sweep.tracking.read.candidates import stat

Values = Mapping[str, Mapping[str, float]]
"""Method or variant -> scan -> value, of one split and seed."""


def common_table(evidence: Evidence, table: ScoreTable) -> ScoreTable | None:
    """The same table over common scans; None where no two methods have one."""
    score = replace(table.score, name=f"{table.score.name}_common_scans")
    cells, n_common, n_all = {}, 0, 0
    for size in table.sizes:
        found = {repeat: _values(evidence, table, size, repeat) for repeat in evidence.repeats}
        common = {repeat: _common(values) for repeat, values in found.items()}
        n_common += sum(len(scans) for scans in common.values())
        n_all += sum(len(_all(values, repeat, table.cells[size])) for repeat, values in found.items())
        row = {name: _cell(name, table.cells[size][name], found, common) for name in table.columns}
        cells[size] = with_best(row, score)
    if not n_common:
        return None
    which = f"on common scans ({n_common} of {n_all}, over all sizes and runs)"
    return replace(table, score=score, cells=cells, which=which)


def _values(evidence: Evidence, table: ScoreTable, size: int, repeat: Repeat) -> Values:
    found = {}
    for name in table.columns:
        run = evidence.chosen(name, size).get(repeat)
        if run is not None and run.state == "done" and (values := _read(evidence, run, table.score)):
            found[name] = values
    return found


def _read(evidence: Evidence, run: Target, score: Score) -> Mapping[str, float]:
    try:
        return defined_values(evidence, run, score)
    except InputError:
        return {}


def _common(values: Values) -> frozenset[str]:
    return frozenset.intersection(*map(frozenset, values.values())) if len(values) > 1 else frozenset()


def _all(values: Values, repeat: Repeat, cells: Mapping[str, ScoreCell]) -> frozenset[str]:
    left_out = (cell.undefined.get(repeat, frozenset()) for cell in cells.values())
    return frozenset().union(*values.values(), *left_out)


def _cell(
    name: str, whole: ScoreCell, found: Mapping[Repeat, Values], common: Mapping[Repeat, frozenset[str]]
) -> ScoreCell:
    means = {
        repeat: statistics.fmean(found[repeat][name][scan] for scan in scans)
        for repeat, scans in common.items()
        if scans and name in found[repeat]
    }
    state = whole.cell.state if whole.cell.summary is None else "no common scan"
    return ScoreCell(Cell(stat(list(means.values())), whole.cell.n_expected, state), means)
