"""Scans on which a score is undefined, run by run: a distance to an empty mask, the share of no lesions.

Such scans stay out of a run's mean, so that means over different scans must not be compared. Reads which
they are where a run counted any. Compares nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dwp_sweep.errors import InputError
from dwp_sweep.report.answers.cell import Repeat, Target
from dwp_sweep.report.answers.scores import Score
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.paired.differences import number

Undefined = Mapping[Repeat, frozenset[str]]
"""By (split, seed): the test scans without this score."""


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
