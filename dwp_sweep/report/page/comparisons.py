"""Paired tests between methods: every pair where methods are few, else everything against one reference.

Joins the differences with their two intervals (`report.paired`) and Wilcoxon's test over subjects with
Holm's correction over the whole table (`report.significance`), and says in words what so few splits and
subjects can tell at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from dwp_sweep.errors import InputError
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.paired.differences import PairedDifference, paired_table
from dwp_sweep.report.paired.significance import ALPHA, SignedRank, holm, signed_rank, smallest_visible

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
        found = self.difference.over_splits
        return found is not None and (found.low > 0 or found.high < 0)

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
        for one in self.rows:
            if (one.difference.name, one.reference, one.difference.train_size) == (name, reference, size):
                return one
        return None


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
    names = (name for one in evidence.targets if one.method == BASELINE for name in one.variants)
    return next(names, None)


def compare(evidence: Evidence, reference: str | None, metric: str = "test_dice") -> Comparisons:
    """Test every pair, or everything against a reference where methods are many.

    Args:
        evidence: The sweep.
        reference: Name of a column; subtracted wherever it takes part.
        metric: A score of ``test_scores.json``.
    """
    found: list[tuple[str, PairedDifference, SignedRank]] = []
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
                found.append((evidence.columns[base], row, test))
        missing += _of_pairs(table.notes, labels, evidence.columns[base])
    corrected = holm([test.p for _, _, test in found])
    rows = [Comparison(base, row, test, p) for (base, row, test), p in zip(found, corrected, strict=True)]
    rows.sort(key=lambda one: one.difference.train_size)
    return Comparisons(metric, tuple(rows), tuple(_notes(rows)), tuple(missing))


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


def _on_splits(rows: Sequence[Comparison]) -> str:
    n = max(len(one.difference.by_split) for one in rows)
    if n < 2:
        return (
            "Too few splits to tell: with one split nothing is known of how much training again on other "
            "scans would change any of this."
        )
    from scipy.stats import t

    widths = [
        (interval.high - interval.low) / 2
        for one in rows
        if (interval := one.difference.over_splits) is not None
    ]
    visible = smallest_visible(widths)
    times = float(t.ppf(0.975, n - 1)) / 1.96
    few = f"Too few splits to tell small differences: {n}" if times > 1.2 else f"{n} splits"
    text = f"{few} make the interval over splits {times:.1f} times as wide as many splits would"
    return text + (f"; differences below about {_rounded(visible)} are lost in it." if visible else ".")


def _on_subjects(rows: Sequence[Comparison]) -> list[str]:
    # What Holm's correction would leave if every subject of every comparison agreed.
    best_case = holm([one.test.smallest_p for one in rows])
    blind = [one for one, p in zip(rows, best_case, strict=True) if p > ALPHA]
    if not blind:
        return []
    fewest = min(blind, key=lambda one: one.test.n_untied)
    least, smallest = fewest.test.n_untied, fewest.test.smallest_p
    return [
        f"Too few subjects to tell: {len(blind)} of {len(rows)} comparisons could not reach {ALPHA:g} after "
        f"the correction even if all subjects agreed (as few as {least} subjects differ; p is then at least "
        f"{smallest:.2g} before it)."
    ]


def _rounded(value: float) -> str:
    digits = max(2, -math.floor(math.log10(value))) if value > 0 else 2
    return f"{value:.{digits}f}"
