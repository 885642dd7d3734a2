"""Paired tests between the methods of a report, as a table of the page, as CSV and as LaTeX.

Every pair is tested where methods are few, else everything against one reference. Joins the differences
with their two intervals and Wilcoxon's test over subjects with Holm's correction over the whole table
(`report.paired`), and says in words what so few splits and subjects can tell at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from dwp_sweep.errors import InputError
from dwp_sweep.report.answers.runs import known_column
from dwp_sweep.report.answers.scores import Score, is_lower_better
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.table_files import bold, csv_text, latex, latex_table
from dwp_sweep.report.paired.differences import (
    PairedDifference,
    interval_text,
    paired_table,
    signed,
)
from dwp_sweep.report.paired.significance import (
    ALPHA,
    Interval,
    SignedRank,
    holm,
    signed_rank,
    smallest_visible,
)
from dwp_sweep.tables import Table, TableCell, left, plain_table, right

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


def reference_of(evidence: Evidence, wanted: str | None = None) -> str | None:
    """Name of the method or variant that others are compared with.

    Args:
        evidence: The sweep.
        wanted: A name or a label; None takes the first that starts at random and carries nothing over.

    Raises:
        InputError: No such method or variant.
    """
    if wanted is not None:
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
        base_label = evidence.columns[base]
        missing += [f"{label} − {base_label}, {words}" for label, words in table.missing if label in labels]
    corrected = holm([test.p for _, _, test in tested])
    rows = [Comparison(base, row, test, p) for (base, row, test), p in zip(tested, corrected, strict=True)]
    rows.sort(key=lambda row: row.difference.train_size)
    return Comparisons(metric, tuple(rows), tuple(_notes(rows)), tuple(missing))


def comparisons_table(comparisons: Comparisons, title: str, score: Score | None) -> Table:
    """The paired tests; what stays after Holm's correction is bold."""
    is_one_reference = len({comparison.reference for comparison in comparisons.rows}) == 1
    columns = [
        *left("m", "method" if is_one_reference else "difference of"),
        *right(
            "mean", "95 % over splits (t)", "95 % over subjects", "rank-biserial [95 %]", "p Wilcoxon",
            "p Holm", "splits ahead", "subjects",
        ),
    ]  # fmt: skip
    rows, size = [], None
    for comparison in comparisons.rows:
        is_new, size = comparison.difference.train_size != size, comparison.difference.train_size
        name = (
            comparison.difference.name
            if is_one_reference
            else f"{comparison.difference.name} − {comparison.reference}"
        )
        rows.append([str(size) if is_new else "", name, *_tested(comparison, score.digits if score else 3)])
    return plain_table(columns, rows, title)


def comparisons_csv(*tables: Comparisons) -> str:
    """A row a comparison, unrounded; p-values are corrected within each table.

    ``difference`` is that of the scores, whichever way is better: ``better`` says it.
    """
    header = (
        "score", "better", "m", "method", "minus", "difference", "splits_low", "splits_high", "subjects_low",
        "subjects_high", "rank_biserial", "rank_biserial_low", "rank_biserial_high", "p_wilcoxon", "p_holm",
        "n_subjects", "n_untied", "n_splits", "n_splits_ahead", "split_correlation",
    )  # fmt: skip
    lines: list[Sequence[object]] = [header]
    for metric, comparison in ((table.metric, row) for table in tables for row in table.rows):
        test, row = comparison.test, comparison.difference
        lines.append([
            metric, "lower" if is_lower_better(metric) else "higher",
            row.train_size, row.name, comparison.reference, row.mean,
            *(row.over_splits or ("", "")), *(row.over_subjects or ("", "")),
            test.rank_biserial, *(test.interval or ("", "")), test.p, comparison.p_holm,
            test.n, test.n_untied, len(row.by_split), row.n_ahead, row.split_correlation,
        ])  # fmt: skip
    return csv_text(lines)


def comparisons_latex(comparisons: Comparisons, title: str) -> str:
    """The table of paired tests, with fewer columns than on the page: a paper is narrower."""
    header = ["$m$", "difference", "mean", r"95\,\% over splits", "rank-biserial", "$p$", "$p$ (Holm)"]
    rows = []
    for comparison in comparisons.rows:
        row, splits = comparison.difference, comparison.difference.over_splits
        rows.append([
            str(row.train_size),
            latex(f"{row.name} − {comparison.reference}"),
            f"${row.mean:+.3f}$",
            f"$[{splits.low:+.3f}, {splits.high:+.3f}]$" if splits else "-",
            f"${comparison.test.rank_biserial:+.2f}$",
            f"{comparison.test.p:.3g}",
            bold(f"{comparison.p_holm:.3g}", comparison.is_shown_over_subjects),
        ])  # fmt: skip
    return latex_table(header, rows, title, f"tab:paired_{comparisons.metric}")


def interval_cell(interval: Interval | None, digits: int = 3) -> str:
    """Bounds with a true minus; a dash where there is no interval."""
    return true_minus(interval_text(interval, digits)) if interval else "-"


def true_minus(number: str) -> str:
    """With the minus sign that stands as high as a plus."""
    return number.replace("-", "−")


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
    text += f"; differences below about {_rounded(visible)} are lost in it." if visible else "."
    if correlation := max(row.difference.split_correlation for row in rows):
        factor = math.sqrt(1 + n * correlation / (1 - correlation))
        text += (
            f" The splits share subjects: with the variance of Nadeau and Bengio (2003) the interval is "
            f"{factor:.1f} times as wide as for splits that share none."
        )
    else:
        text += (
            " It is Student's t interval, not corrected: two splits share no test subject, or all of them."
        )
    return text


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


def _rounded(value: float) -> str:
    digits = max(2, -math.floor(math.log10(value))) if value > 0 else 2
    return f"{value:.{digits}f}"


def _tested(comparison: Comparison, digits: int) -> list[str | TableCell]:
    row, test = comparison.difference, comparison.test
    return [
        true_minus(signed(row.mean, digits)),
        TableCell(
            interval_cell(row.over_splits, digits), "strong" if comparison.is_shown_over_splits else ""
        ),
        interval_cell(row.over_subjects, digits),
        f"{true_minus(signed(test.rank_biserial, 2))} {interval_cell(test.interval, 2)}",
        _p_text(test.p) if test.can_tell else "too few",
        TableCell(_p_text(comparison.p_holm), "strong" if comparison.is_shown_over_subjects else ""),
        f"{row.n_ahead}/{len(row.by_split)}",
        TableCell(str(test.n), about=f"{test.n_untied} of them differ"),
    ]


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
