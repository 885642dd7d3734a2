"""Tables of a report, and the same as CSV for programs and LaTeX for papers.

CSV holds a row a cell, unrounded; LaTeX holds the table as the page shows it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from dwp_sweep.report.answers.cell import repeat_text
from dwp_sweep.report.answers.scores import Score
from dwp_sweep.report.page.comparisons import Comparison, Comparisons, Winner
from dwp_sweep.report.page.score_tables import ScoreTable
from dwp_sweep.report.paired.differences import LOWER_IS_BETTER, interval_text, signed
from dwp_sweep.report.paired.significance import Interval
from dwp_sweep.tables import (
    Table,
    TableCell,
    TableColumn,
    bold,
    latex,
    latex_of,
    latex_table,
    left,
    plain_table,
    right,
)


def score_table_of(table: ScoreTable) -> Table:
    """One score, the best of each training size bold, how many runs in what is said about a cell."""
    digits = table.score.digits
    rows: list[list[str | TableCell]] = [
        [
            name,
            *(
                TableCell(
                    cell.text(digits),
                    "strong" if cell.is_best else "" if cell.cell.summary else "bad",
                    about=cell.about(digits),
                )
                for cell in cells
            ),
        ]
        for name, cells in table.lines()
    ]
    first, *others = table.header
    return plain_table([*left(first), *right(*others)], rows, table.caption)


def score_files(table: ScoreTable) -> dict[str, str]:
    """File name -> text, as CSV and LaTeX."""
    name = table.score.name
    return {
        f"{name}.csv": score_csv(table),
        f"{name}.tex": latex_of(score_table_of(table), f"tab:{name}"),
    }


def score_csv(table: ScoreTable) -> str:
    """A row a cell: score, m, method, mean, std, n, n_expected, scans left out, state, values of the runs."""
    header = (
        "score", "m", "method", "label", "mean", "std", "n", "n_expected", "n_undefined", "state", "runs"
    )  # fmt: skip
    lines: list[Sequence[object]] = [header]
    for size, row in table.cells.items():
        for name, one in row.items():
            found, n_expected = one.cell.summary, one.cell.n_expected
            runs = "; ".join(f"{repeat_text(repeat)}: {value!r}" for repeat, value in one.values.items())
            lines.append([
                table.score.name, size, name, table.columns[name],
                *((found.mean, found.std, found.n) if found else (None, None, 0)), n_expected,
                one.n_undefined, "complete" if found and found.n == n_expected else one.cell.state, runs,
            ])  # fmt: skip
    return _csv(lines)


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
                _true_minus(signed(difference.mean)) if difference else "-",
                _interval(difference.over_splits if difference else None),
                _interval(difference.over_subjects if difference else None),
                winner.verdict if winner.label != reference else "it is the reference",
            ]
        rows.append(row)
    return plain_table(columns, rows)


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


def _tested(comparison: Comparison, digits: int) -> list[str | TableCell]:
    row, test = comparison.difference, comparison.test
    return [
        _true_minus(signed(row.mean, digits)),
        TableCell(_interval(row.over_splits, digits), "strong" if comparison.is_shown_over_splits else ""),
        _interval(row.over_subjects, digits),
        f"{_true_minus(signed(test.rank_biserial, 2))} {_interval(test.interval, 2)}",
        _p_text(test.p) if test.can_tell else "too few",
        TableCell(_p_text(comparison.p_holm), "strong" if comparison.is_shown_over_subjects else ""),
        f"{row.n_ahead}/{len(row.by_split)}",
        TableCell(str(test.n), about=f"{test.n_untied} of them differ"),
    ]


def comparisons_csv(*tables: Comparisons) -> str:
    """A row a comparison, unrounded; p-values are corrected within each table.

    ``difference`` is that of the scores, whichever way is better: ``better`` says it.
    """
    header = (
        "score", "better", "m", "method", "minus", "difference", "splits_low", "splits_high", "subjects_low",
        "subjects_high", "rank_biserial", "rank_biserial_low", "rank_biserial_high", "p_wilcoxon", "p_holm",
        "n_subjects", "n_untied", "n_splits", "n_splits_ahead",
    )  # fmt: skip
    lines: list[Sequence[object]] = [header]
    for metric, one in ((table.metric, one) for table in tables for one in table.rows):
        test, row = one.test, one.difference
        lines.append([
            metric, "lower" if metric in LOWER_IS_BETTER else "higher",
            row.train_size, row.name, one.reference, row.mean,
            *(row.over_splits or ("", "")), *(row.over_subjects or ("", "")),
            test.rank_biserial, *(test.interval or ("", "")), test.p, one.p_holm,
            test.n, test.n_untied, len(row.by_split), row.n_ahead,
        ])  # fmt: skip
    return _csv(lines)


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


def _interval(interval: Interval | None, digits: int = 3) -> str:
    return _true_minus(interval_text(interval, digits)) if interval else "-"


def _true_minus(number: str) -> str:
    return number.replace("-", "−")


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _csv(lines: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    # None is an empty cell.
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()
