"""Paired tests between methods, and the answer of a report: who is best by validation, and how sure that is.

Every pair is tested where methods are few, else everything against one reference. Joins the differences
with their two intervals and Wilcoxon's test over subjects with Holm's correction over the whole table
(`report.paired`), and says in words what so few splits and subjects can tell at all. The best method is
chosen by validation alone; test scores only say what the choice is worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from dwp_sweep.errors import InputError
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.score_tables import ScoreTable
from dwp_sweep.report.paired.differences import PairedDifference, interval_text, paired_table, signed
from dwp_sweep.report.paired.significance import ALPHA, SignedRank, holm, signed_rank, smallest_visible
from dwp_sweep.tracking.read.configuration import Stat

MAX_PAIRED = 5
"""Up to so many methods every pair is compared: six pairs of four methods at each training size."""
BASELINE = "random_init"
"""Method that everything is compared with where nothing else is asked: it carries nothing over."""


@dataclass(frozen=True)
class Comparison:
    """One method minus another at one training size.

    Attributes:
        reference: Label of what is subtracted.
        difference: Mean difference with its intervals.
        test: Wilcoxon's test over subjects.
        p_holm: Its p-value corrected for all comparisons of the table.
    """

    reference: str
    difference: PairedDifference
    test: SignedRank
    p_holm: float

    @property
    def is_shown_over_splits(self) -> bool:
        """Whether the interval over splits leaves 0 out."""
        interval = self.difference.over_splits
        return interval is not None and (interval.low > 0 or interval.high < 0)

    @property
    def is_shown_over_subjects(self) -> bool:
        """Whether the corrected test over subjects rejects."""
        return self.p_holm <= ALPHA


@dataclass(frozen=True)
class Comparisons:
    """The table of paired tests.

    Attributes:
        metric: The score, e.g. ``test_dice``.
        rows: By training size.
        notes: How to read it, and what so few splits or subjects cannot tell.
        missing: Pairs that are not there, in words.
    """

    metric: str
    rows: tuple[Comparison, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]

    def find(self, name: str, reference: str, size: int) -> Comparison | None:
        """The comparison of two labels at a size, in this direction."""
        for row in self.rows:
            if (row.difference.name, row.reference, row.difference.train_size) == (name, reference, size):
                return row
        return None


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


def reference_of(evidence: Evidence, wanted: str | None = None) -> str | None:
    """Name of the method or variant that others are compared with.

    Args:
        evidence: The sweep.
        wanted: A name or a label; None takes the first that starts at random and carries nothing over.

    Raises:
        InputError: No such method or variant.
    """
    if wanted is not None:
        from dwp_sweep.report.paired.differences import known_column

        return known_column(wanted, evidence.columns)
    if BASELINE in evidence.columns:
        return BASELINE
    names = (name for target in evidence.targets if target.method == BASELINE for name in target.variants)
    return next(names, None)


def compare(evidence: Evidence, reference: str | None, metric: str = "test_dice") -> Comparisons:
    """Test every pair, or everything against a reference where methods are many.

    Args:
        evidence: The sweep.
        reference: Name of a column; subtracted wherever it takes part.
        metric: A score of ``test_scores.json``.
    """
    tested: list[tuple[str, PairedDifference, SignedRank]] = []
    missing: list[str] = []
    for base, names in _pairs(evidence, reference):
        try:
            table = paired_table(evidence.frame, base, evidence.scores, metric)
        except InputError as error:
            missing.append(f"against {evidence.columns[base]}: {error.problems[0].what}")
            continue
        labels = {evidence.columns[name] for name in names}
        for row in table.rows:
            test = signed_rank(list(row.by_subject.values()))
            if row.name in labels and test is not None:
                tested.append((evidence.columns[base], row, test))
        missing += _of_pairs(table.notes, labels, evidence.columns[base])
    corrected = holm([test.p for _, _, test in tested])
    rows = [Comparison(base, row, test, p) for (base, row, test), p in zip(tested, corrected, strict=True)]
    rows.sort(key=lambda one: one.difference.train_size)
    return Comparisons(metric, tuple(rows), tuple(_notes(rows)), tuple(missing))


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


def _direction(mean: float) -> str:
    return "better" if mean > 0 else "worse" if mean < 0 else "equal"


def _pairs(evidence: Evidence, reference: str | None) -> list[tuple[str, list[str]]]:
    """What is subtracted -> from what."""
    names = list(evidence.columns)
    if len(names) > MAX_PAIRED:
        base = reference or names[0]
        return [(base, [name for name in names if name != base])]
    if reference in names:
        # The reference comes last, so that it is what is subtracted in all its pairs.
        names = [*(name for name in names if name != reference), str(reference)]
    pairs: dict[str, list[str]] = {}
    for first, second in combinations(names, 2):
        pairs.setdefault(second, []).append(first)
    return [(base, pairs[base]) for base in reversed(names) if base in pairs]


def _of_pairs(notes: Sequence[str], labels: set[str], base: str) -> list[str]:
    """What a table's notes say of the pairs that are wanted, with both names."""
    return [
        f"{label} − {base}{note.removeprefix(label)}"
        for note in notes
        for label in sorted(labels)
        if note.startswith(f"{label}, m = ")
    ]


def _notes(rows: Sequence[Comparison]) -> list[str]:
    if not rows:
        return ["There is no pair to compare."]
    return [
        "A subject's difference is its mean over the splits that test it, so that the values of Wilcoxon's "
        "signed-rank test are independent. It speaks of other test subjects for these networks, not of "
        f"training again. Holm: corrected for the {len(rows)} comparisons of this table.",
        _on_splits(rows),
        *_on_subjects(rows),
    ]


def _who(best: Sequence[Winner]) -> str:
    groups: dict[str, list[Winner]] = {}
    for one in best:
        groups.setdefault(one.label, []).append(one)
    parts = [
        f"{_quoted(label)} {_listed([_score(one, len(best) > 1) for one in group])}"
        for label, group in groups.items()
    ]
    return f"Best on validation scans: {_listed(parts)}."


def _how_sure(best: Sequence[Winner], reference: str) -> str:
    others = [one for one in best if one.against is not None]
    if not others:
        return f"There is no pair with {reference} to say how sure that is."
    shown = [
        o for o in others if o.against and o.against.is_shown_over_splits and o.against.is_shown_over_subjects
    ]
    texts = [f"{_difference(one)} (m = {one.size})" for one in others]
    start = f"Difference to {_quoted(reference)} on the same test scans: {_listed(texts)}"
    if len(shown) == len(others):
        ways = {_direction(one.against.difference.mean) for one in others if one.against}
        way = ways.pop() if len(ways) == 1 else "better at some sizes and worse at others"
        return f"{start}; {way}, over splits and over subjects alike by more than chance."
    n_splits = max(len(o.against.difference.by_split) for o in others if o.against)
    splits = f"{n_splits} split" + ("" if n_splits == 1 else "s")
    if shown:
        sizes = _listed([str(one.size) for one in shown])
        return f"{start}; shown both over splits and over subjects at m = {sizes} only."
    if any(one.against and one.against.is_shown_over_subjects for one in others):
        return (
            f"{start}; real for these networks at some sizes, but {splits} cannot say that training again "
            "would repeat it."
        )
    return f"{start}; with {splits}, none of it can be told from chance."


def _on_splits(rows: Sequence[Comparison]) -> str:
    n = max(len(row.difference.by_split) for row in rows)
    if n < 2:
        return (
            "Too few splits to tell: with one split nothing is known of how much training again on other "
            "scans would change any of this."
        )
    from scipy.stats import t

    widths = [
        (interval.high - interval.low) / 2
        for row in rows
        if (interval := row.difference.over_splits) is not None
    ]
    visible = smallest_visible(widths)
    times = float(t.ppf(0.975, n - 1)) / 1.96
    few = f"Too few splits to tell small differences: {n}" if times > 1.2 else f"{n} splits"
    text = f"{few} make the interval over splits {times:.1f} times as wide as many splits would"
    return text + (f"; differences below about {_rounded(visible)} are lost in it." if visible else ".")


def _on_subjects(rows: Sequence[Comparison]) -> list[str]:
    # What Holm's correction would leave if every subject of every comparison agreed.
    best_case = holm([row.test.smallest_p for row in rows])
    blind = [row for row, p in zip(rows, best_case, strict=True) if p > ALPHA]
    if not blind:
        return []
    fewest = min(blind, key=lambda row: row.test.n_untied)
    least, smallest = fewest.test.n_untied, fewest.test.smallest_p
    return [
        f"Too few subjects to tell: {len(blind)} of {len(rows)} comparisons could not reach {ALPHA:g} after "
        f"the correction even if all subjects agreed (as few as {least} subjects differ; p is then at least "
        f"{smallest:.2g} before it)."
    ]


def _quoted(label: str) -> str:
    """Names of variants are the user's words, and may hold commas."""
    return f"“{label}”" if " " in label else label


def _listed(texts: Sequence[str], comma: str = ", ") -> str:
    if len(texts) < 2:
        return "".join(texts)
    return f"{comma.join(texts[:-1])} and {texts[-1]}"


def _score(one: Winner, is_one_of_several: bool) -> str:
    std = f", std {one.test.std:.3f}" if one.test is not None and one.test.std is not None else ""
    test = f" (test Dice {one.test.mean:.3f}{std})" if one.test is not None else ""
    return f"at m = {one.size}{test}" if is_one_of_several else f"with {one.size} training scans{test}"


def _difference(one: Winner) -> str:
    assert one.against is not None, "only winners with a pair are told"
    row = one.against.difference
    interval = row.over_splits or row.over_subjects
    bounds = f" {interval_text(interval)}" if interval else ""
    return f"{signed(row.mean)}{bounds}".replace("-", "−")


def _rounded(value: float) -> str:
    digits = max(2, -math.floor(math.log10(value))) if value > 0 else 2
    return f"{value:.{digits}f}"
