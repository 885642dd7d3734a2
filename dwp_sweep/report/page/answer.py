"""The answer of a report: who is best by validation at each training size, and how sure that is.

The best method is chosen by validation alone; test scores and paired tests say what the choice is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dwp_sweep.report.page.comparisons import Comparison, Comparisons, interval_cell, true_minus
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.score_tables import ScoreTable
from dwp_sweep.report.paired.differences import interval_text, signed
from dwp_sweep.tables import Stat, Table, TableCell, TableColumn, left, plain_table, right


@dataclass(frozen=True)
class Winner:
    """The best method by validation at one training size.

    Attributes:
        size: Target training images, m.
        name: Method or variant.
        label: Its label.
        validation: What decided.
        test: Test Dice; None where no run has it.
        against: Its difference to the reference; None where it is the reference itself, or has no pair.
        runner_up: Label of the second best by validation; empty where there is none.
    """

    size: int
    name: str
    label: str
    validation: Stat
    test: Stat | None
    against: Comparison | None
    runner_up: str

    @property
    def verdict(self) -> str:
        """How sure the difference to the reference is."""
        if self.against is None:
            return "nothing to compare it with"
        comparison, row = self.against, self.against.difference
        if row.over_splits is None:
            return "one split: nothing is known of training again"
        if comparison.is_shown_over_splits and comparison.is_shown_over_subjects:
            return f"shown: both over splits and over subjects ({_direction(row.mean)})"
        if comparison.is_shown_over_splits:
            return f"over splits yes ({_direction(row.mean)}), over subjects not after correction"
        if comparison.is_shown_over_subjects:
            return f"{_direction(row.mean)} for these networks; too few splits to say so of training again"
        return "no difference shown"


def winners(
    evidence: Evidence,
    validation: ScoreTable | None,
    test: ScoreTable | None,
    comparisons: Comparisons,
    reference: str | None,
) -> list[Winner]:
    """The best method by mean validation score at each size, among those with most finished runs."""
    if validation is None:
        return []
    chosen = []
    for size in evidence.sizes:
        known = {name: c.cell.summary for name, c in validation.cells[size].items() if c.cell.summary}
        if not known:
            continue
        most = max(summary.n for summary in known.values())
        full = sorted(
            (name for name, summary in known.items() if summary.n == most), key=lambda name: -known[name].mean
        )
        name, label = full[0], evidence.columns[full[0]]
        base = evidence.columns.get(reference or "", "")
        chosen.append(
            Winner(
                size,
                name,
                label,
                known[name],
                test.cells[size][name].cell.summary if test else None,
                comparisons.find(label, base, size),
                evidence.columns[full[1]] if len(full) > 1 else "",
            )
        )
    return chosen


def sentences(best: Sequence[Winner], reference: str) -> list[str]:
    """One or two sentences: who wins where, and how sure the difference to the reference is.

    Args:
        best: From `winners`.
        reference: Label of what was compared with; empty where there is none.
    """
    if not best:
        return ["No finished network has a validation score yet, so nothing can be named best."]
    return [_who(best), *([_how_sure(best, reference)] if reference else [])]


def winners_table(winners: Sequence[Winner], reference: str) -> Table:
    """Who is best by validation at each size."""
    columns = [*left("m", "best by validation"), *right("validation Dice", "test Dice")]
    if reference:
        columns += right(f"minus {reference}", "95 % over splits", "95 % over subjects")
        columns += [TableColumn("how sure", wraps=True)]
    rows: list[list[str | TableCell]] = []
    for winner in winners:
        runner_up = f"second: {winner.runner_up}" if winner.runner_up else ""
        row: list[str | TableCell] = [
            str(winner.size),
            TableCell(winner.label, "strong", about=runner_up),
            str(winner.validation),
            str(winner.test or "-"),
        ]
        if reference:
            difference = winner.against.difference if winner.against else None
            row += [
                true_minus(signed(difference.mean)) if difference else "-",
                interval_cell(difference.over_splits if difference else None),
                interval_cell(difference.over_subjects if difference else None),
                winner.verdict if winner.label != reference else "it is the reference",
            ]
        rows.append(row)
    return plain_table(columns, rows)


def _who(best: Sequence[Winner]) -> str:
    groups: dict[str, list[Winner]] = {}
    for winner in best:
        groups.setdefault(winner.label, []).append(winner)
    parts = [
        f"{_quoted(label)} {_listed([_score(winner, len(best) > 1) for winner in group])}"
        for label, group in groups.items()
    ]
    return f"Best on validation scans: {_listed(parts)}."


def _how_sure(best: Sequence[Winner], reference: str) -> str:
    others = [winner for winner in best if winner.against is not None]
    if not others:
        return f"There is no pair with {reference} to say how sure that is."
    shown = [
        o for o in others if o.against and o.against.is_shown_over_splits and o.against.is_shown_over_subjects
    ]
    texts = [f"{_difference(winner)} (m = {winner.size})" for winner in others]
    start = f"Difference to {_quoted(reference)} on the same test scans: {_listed(texts)}"
    if len(shown) == len(others):
        ways = {_direction(winner.against.difference.mean) for winner in others if winner.against}
        way = ways.pop() if len(ways) == 1 else "better at some sizes and worse at others"
        return f"{start}; {way}, over splits and over subjects alike by more than chance."
    n_splits = max(len(o.against.difference.by_split) for o in others if o.against)
    splits = f"{n_splits} split" + ("" if n_splits == 1 else "s")
    if shown:
        sizes = _listed([str(winner.size) for winner in shown])
        return f"{start}; shown both over splits and over subjects at m = {sizes} only."
    if any(winner.against and winner.against.is_shown_over_subjects for winner in others):
        return (
            f"{start}; real for these networks at some sizes, but {splits} cannot say that training again "
            "would repeat it."
        )
    return f"{start}; with {splits}, none of it can be told from chance."


def _direction(mean: float) -> str:
    return "better" if mean > 0 else "worse" if mean < 0 else "equal"


def _quoted(label: str) -> str:
    """Names of variants are the user's words, and may hold commas."""
    return f"“{label}”" if " " in label else label


def _listed(texts: Sequence[str], comma: str = ", ") -> str:
    if len(texts) < 2:
        return "".join(texts)
    return f"{comma.join(texts[:-1])} and {texts[-1]}"


def _score(winner: Winner, is_one_of_several: bool) -> str:
    std = f", std {winner.test.std:.3f}" if winner.test is not None and winner.test.std is not None else ""
    test = f" (test Dice {winner.test.mean:.3f}{std})" if winner.test is not None else ""
    return f"at m = {winner.size}{test}" if is_one_of_several else f"with {winner.size} training scans{test}"


def _difference(winner: Winner) -> str:
    assert winner.against is not None, "only winners with a pair have one"
    row = winner.against.difference
    interval = row.over_splits or row.over_subjects
    bounds = f" {interval_text(interval)}" if interval else ""
    return true_minus(f"{signed(row.mean)}{bounds}")
