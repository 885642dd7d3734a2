"""Paired differences of every method or variant to a named one, by training size.

Two networks of the same split and seed saw the same training scans and are scored on the same test
subjects, so their scores are subtracted subject by subject before anything is averaged: what makes a
scan hard cancels. It shares the choice of runs with the paper's table
(`report.answers.runs`). Decides nothing: test scores only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.answers.paper_table import METRICS
from dwp_sweep.report.answers.runs import (
    Repeat,
    Target,
    chosen_runs,
    columns_of,
    known_column,
    repeat_text,
    runs_of,
    targets_of,
)
from dwp_sweep.report.answers.scores import is_lower_better
from dwp_sweep.report.answers.spread import spread_notes
from dwp_sweep.report.paired.significance import (
    LEVEL,
    N_RESAMPLES,
    Interval,
    shared_share,
    split_interval,
    subject_interval,
)
from dwp_sweep.tables import Table, left, markdown, plain_text, right, table_row
from dwp_sweep.tracking.read.files import SubjectScores

ReadScores = Callable[[str, str], SubjectScores]
"""(node key, run id) -> per-subject scores; raises `InputError` where there are none."""

_COLUMNS = (
    *left("m", ""),
    *right("difference", "over splits (t)", "over subjects (bootstrap)", "splits ahead"),
)


@dataclass(frozen=True)
class PairedDifference:
    """One method or variant minus the reference, at one training size.

    Attributes:
        name: Label of the method or variant.
        train_size: Target training images, m.
        by_split: Split -> mean difference over its test subjects, seeds averaged.
        mean: Mean of them.
        over_splits: 95 % t interval over the splits' means; None for one split.
        split_correlation: Of two splits' means, by which that interval is corrected; 0: it is not.
        over_subjects: 95 % bootstrap interval over test subjects, for these networks. Subjects are patients:
            several scans of one are drawn together.
        n_ahead: Splits whose mean difference is on the better side of 0.
        n_subjects: Different patients in the test sets.
        by_subject: Patient -> the mean difference over all scans and splits that test it: independent values.
    """

    name: str
    train_size: int
    by_split: Mapping[int, float]
    mean: float
    over_splits: Interval | None
    over_subjects: Interval | None
    n_ahead: int
    n_subjects: int
    by_subject: Mapping[str, float] = field(default_factory=dict)
    split_correlation: float = 0.0


@dataclass(frozen=True)
class PairedTable:
    """Differences to one reference.

    Attributes:
        reference: Label of what is subtracted.
        metric: The score, e.g. ``test_dice``.
        rows: By training size, then by label.
        notes: How the intervals are made, and what is missing.
        missing: The same of each pair that is not there: label, training size and what is wrong.
    """

    reference: str
    metric: str
    rows: tuple[PairedDifference, ...]
    notes: tuple[str, ...]
    missing: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """What the differences are."""
        return f"{METRICS.get(self.metric, self.metric)} minus that of {self.reference}, with 95 % intervals"

    def table(self) -> Table:
        """A row a method or variant and training size."""
        rows = [
            table_row([
                str(row.train_size), row.name, signed(row.mean), interval_text(row.over_splits),
                interval_text(row.over_subjects), f"{row.n_ahead}/{len(row.by_split)}",
            ])
            for row in self.rows
        ]  # fmt: skip
        return Table(_COLUMNS, tuple(rows), self.title, notes=self.notes)

    def text(self) -> str:
        """Plain text."""
        return plain_text(self.table())

    def markdown(self) -> str:
        """A Markdown table and the notes."""
        return markdown(self.table())

    def values(self) -> dict[str, Any]:
        """Plain values, unrounded, for JSON."""
        rows = [asdict(row) for row in self.rows]
        for plain, row in zip(rows, self.rows, strict=True):
            del plain["by_subject"]  # a table of its own, not a row's value
            for name, interval in (("over_splits", row.over_splits), ("over_subjects", row.over_subjects)):
                plain[name] = None if interval is None else list(interval)
        how = {"level": LEVEL, "n_resamples": N_RESAMPLES}
        return {"reference": self.reference, "metric": self.metric, **how, "rows": rows, "notes": self.notes}


def paired_table(
    results: pd.DataFrame, reference: str, read: ReadScores, metric: str = "test_dice"
) -> PairedTable:
    """Compare everything in a sweep with one of its methods or variants.

    Args:
        results: From `tracking.results`.
        reference: Name or label of the method or variant to subtract.
        read: Gives a target's per-subject scores, e.g. `ScoreReader.read`.
        metric: A score of ``test_scores.json``, with or without ``test_`` before it.

    Raises:
        InputError: No such method, variant or score, or nothing to pair.
    """
    targets = targets_of(results)
    columns = columns_of(targets)
    chosen_reference = known_column(reference, columns)
    metric = metric if metric.startswith("test_") else f"test_{metric}"
    reader = _Reader(read, metric)
    rows: list[PairedDifference] = []
    for size in sorted({target.train_size for target in targets}):
        base = _runs(targets, chosen_reference, size)
        for name in columns:
            if name != chosen_reference:
                mine = _runs(targets, name, size)
                if differences := reader.differences(mine, base, columns[name], size):
                    drawn = {target.splits for target in (*mine.values(), *base.values())}
                    tests = [reader.tested[split, size] for split in differences]
                    correlation = _correlation(tests, reader.patients, drawn, size)
                    rows.append(
                        _difference(columns[name], size, differences, metric, reader.patients, correlation)
                    )
    if not rows:
        raise InputError(
            Problem(f"--versus {reference}", f"nothing to compare it with: {_brief(reader.notes)}")
        )
    label = columns[chosen_reference]
    of_patients = (
        ["subjects are patients: several scans of one are drawn together"] if reader.patients else []
    )
    notes = (*_method_notes(rows, label), *spread_notes(targets), *of_patients, *reader.notes)
    return PairedTable(label, metric, tuple(rows), notes, tuple(reader.missing))


class _Reader:
    """Differences subject by subject, with words for every pair that is not there."""

    def __init__(self, read: ReadScores, metric: str) -> None:
        self._read, self._metric = read, metric
        self.missing: list[tuple[str, str]] = []
        self.patients: dict[str, str] = {}
        """Scan -> patient, where patients have names of their own."""
        self.tested: dict[tuple[int, int], set[str]] = {}
        """(split, training size) -> its test scans, those without this score included."""

    @property
    def notes(self) -> list[str]:
        """What is missing, by pair."""
        return [f"{label}, {words}" for label, words in self.missing]

    def differences(
        self, mine: Mapping[Repeat, Target], base: Mapping[Repeat, Target], label: str, size: int
    ) -> dict[int, dict[str, float]]:
        """Split -> subject -> difference, the mean over seeds."""
        by_seed: dict[int, list[dict[str, float]]] = {}
        for repeat in sorted({*mine, *base}):
            pair, problem = self._pair(mine.get(repeat), base.get(repeat))
            if problem:
                self.missing.append((label, f"m = {size}: {repeat_text(repeat)}: {problem}"))
            if pair:
                by_seed.setdefault(repeat[0], []).append(pair)
        return {split: _mean_by_subject(pairs) for split, pairs in by_seed.items()}

    def _pair(self, mine: Target | None, base: Target | None) -> tuple[dict[str, float], str]:
        """Subject -> difference, and what is missing."""
        if mine is None or base is None:
            return {}, "no finished pair"
        try:
            ours, theirs = self._values(mine), self._values(base)
        except InputError as error:
            return {}, str(error.problems[0])
        common = {subject: ours[subject] - theirs[subject] for subject in ours if subject in theirs}
        is_short = len(common) < max(len(ours), len(theirs))
        return common, f"only {len(common)} test subjects have both scores" if is_short else ""

    def _values(self, target: Target) -> dict[str, float]:
        scores, name = self._read(target.key, target.run_id), self._metric.removeprefix("test_")
        self.tested.setdefault((target.repeat[0], target.train_size), set()).update(scores)
        self.patients |= {subject: row["patient"] for subject, row in scores.items() if "patient" in row}
        values = {
            subject: value for subject, row in scores.items() if (value := number(row.get(name))) is not None
        }
        if not values:
            there = sorted(
                {key for row in scores.values() for key, value in row.items() if number(value) is not None}
            )
            fix = "scores there: " + ", ".join(there)
            raise InputError(Problem(f"{self._metric}", "no test subject has this score", fix))
        return values


def _brief(notes: Sequence[str]) -> str:
    if not notes:
        return "the sweep has nothing else"
    return notes[0] + (f"; and {len(notes) - 1} more of this kind" if len(notes) > 1 else "")


def _runs(targets: Sequence[Target], name: str, size: int) -> dict[Repeat, Target]:
    chosen, _ = chosen_runs(runs_of(targets, name, size))
    return {repeat: target for repeat, target in chosen.items() if target.state == "done"}


def _difference(
    label: str,
    size: int,
    by_subject_of_split: Mapping[int, Mapping[str, float]],
    metric: str,
    patients: Mapping[str, str],
    correlation: float,
) -> PairedDifference:
    better = -1 if is_lower_better(metric) else 1
    by_patient: dict[str, list[float]] = {}
    for subjects in by_subject_of_split.values():
        for subject, value in subjects.items():
            by_patient.setdefault(patients.get(subject, subject), []).append(value)
    by_split = {split: statistics.fmean(subjects.values()) for split, subjects in by_subject_of_split.items()}
    return PairedDifference(
        name=label,
        train_size=size,
        by_split=by_split,
        mean=statistics.fmean(by_split.values()),
        over_splits=split_interval(list(by_split.values()), correlation=correlation),
        over_subjects=subject_interval(list(by_subject_of_split.values()), patients=patients),
        n_ahead=sum(better * value > 0 for value in by_split.values()),
        n_subjects=len(by_patient),
        by_subject={name: statistics.fmean(by_patient[name]) for name in sorted(by_patient)},
        split_correlation=correlation,
    )


def _correlation(
    tests: Iterable[Collection[str]], patients: Mapping[str, str], drawn: Collection[str], size: int
) -> float:
    """Of two splits' means: the share of the test subjects that two splits have in common.

    0 where the splits are independent, and where all have one test set, whose subjects make no split differ
    from another. A user's own splits may test other subjects each and train on the same, as in a
    cross-validation: then Nadeau and Bengio's n_test / (n_test + n_train).
    """
    of_patients = [{patients.get(subject, subject) for subject in subjects} for subjects in tests]
    shared = shared_share(of_patients)
    if drawn == {"independent"} or shared == 1:
        return 0.0
    if "file" in drawn and not shared:
        n_test = statistics.fmean(map(len, of_patients))
        return n_test / (n_test + size)
    return shared


def _mean_by_subject(pairs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    subjects = {subject for pair in pairs for subject in pair}
    return {
        subject: statistics.fmean(pair[subject] for pair in pairs if subject in pair)
        for subject in sorted(subjects)
    }


def _method_notes(rows: Sequence[PairedDifference], reference: str) -> list[str]:
    n_splits, n_subjects = max(len(row.by_split) for row in rows), max(row.n_subjects for row in rows)
    return [
        f"difference: subject by subject against {reference} of the same split and seed, averaged over a "
        f"split's test subjects, then over the splits ({n_splits})",
        _on_splits(max(row.split_correlation for row in rows), n_splits),
        f"over subjects (bootstrap): percentiles of {N_RESAMPLES:,} draws of the {n_subjects} different test "
        "subjects; holds the chance of other test scans for these trained networks, none of training again",
        f"splits ahead: splits whose mean difference is on the better side of 0. {len(rows)} comparisons, "
        "none corrected for their number",
    ]


def _on_splits(correlation: float, n_splits: int) -> str:
    text = "over splits (t): Student's t interval over the splits' means"
    if correlation:
        ratio = correlation / (1 - correlation)
        text += (
            f" with the variance of Nadeau and Bengio (2003) for splits that share subjects (a correlation "
            f"of {correlation:.2f}): 1/{n_splits} + {ratio:.2f} times that between splits in place of "
            f"1/{n_splits}"
        )
    return f"{text}; holds the chance of training again on other scans; wide where splits are few"


def number(value: Any) -> float | None:
    """A score of ``test_scores.json`` as a finite number; None where it is none, as where it is undefined."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def signed(value: float, digits: int = 3) -> str:
    """``+0.012``, never ``-0.000``."""
    return f"{value + 0.0:+.{digits}f}"


def interval_text(interval: Interval | None, digits: int = 3) -> str:
    """``[-0.010, +0.020]``, or a dash."""
    if interval is None:
        return "-"
    return f"[{signed(interval.low, digits)}, {signed(interval.high, digits)}]"
