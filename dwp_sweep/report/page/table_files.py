"""Tables of a report as files: CSV for programs, LaTeX (booktabs) for papers.

CSV holds a row a cell, unrounded; LaTeX holds the table as the page shows it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from dwp_sweep.report.page.comparisons import Comparisons
from dwp_sweep.report.page.score_tables import ScoreTable, place
from dwp_sweep.report.paired.differences import LOWER_IS_BETTER

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "−": r"$-$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$",
}  # fmt: skip


def score_csv(table: ScoreTable) -> str:
    """A row a cell: score, m, method, mean, std, n, n_expected, scans left out, state, values of the runs."""
    lines: list[list[object]] = [
        ["score", "m", "method", "label", "mean", "std", "n", "n_expected", "n_undefined", "state", "runs"]
    ]
    for size, row in table.cells.items():
        for name, one in row.items():
            found = one.cell.summary
            numbers = (found.mean, found.std, found.n) if found else (None, None, 0)
            runs = "; ".join(f"{place(repeat)}: {value!r}" for repeat, value in one.values.items())
            state = "complete" if found and found.n == one.cell.n_expected else one.cell.state
            lines.append(
                [
                    table.score.name,
                    size,
                    name,
                    table.columns[name],
                    *numbers,
                    one.cell.n_expected,
                    one.n_undefined,
                    state,
                    runs,
                ]
            )
    return _csv(lines)


def comparisons_csv(*tables: Comparisons) -> str:
    """A row a comparison, unrounded; p-values are corrected within each table.

    ``difference`` is that of the scores, whichever way is better: ``better`` says it.
    """
    header = [
        "score", "better", "m", "method", "minus", "difference", "splits_low", "splits_high", "subjects_low",
        "subjects_high", "rank_biserial", "rank_biserial_low", "rank_biserial_high", "p_wilcoxon", "p_holm",
        "n_subjects", "n_untied", "n_splits", "n_splits_ahead",
    ]  # fmt: skip
    lines: list[list[object]] = [list(header)]
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


def score_latex(table: ScoreTable) -> str:
    """The table as the page shows it; the best of each size is bold."""
    digits = table.score.digits
    rows = [
        [latex(name), *(_bold(latex(one.text(digits)), one.is_best) for one in cells)]
        for name, cells in table.lines()
    ]
    return latex_table([latex(text) for text in table.header], rows, table.caption, f"tab:{table.score.name}")


def comparisons_latex(found: Comparisons, title: str) -> str:
    """The table of paired tests."""
    header = ["$m$", "difference", "mean", r"95\,\% over splits", "rank-biserial", "$p$", "$p$ (Holm)"]
    rows = []
    for one in found.rows:
        row, splits = one.difference, one.difference.over_splits
        rows.append([
            str(row.train_size),
            latex(f"{row.name} − {one.reference}"),
            f"${row.mean:+.3f}$",
            f"$[{splits.low:+.3f}, {splits.high:+.3f}]$" if splits else "-",
            f"${one.test.rank_biserial:+.2f}$",
            f"{one.test.p:.3g}",
            _bold(f"{one.p_holm:.3g}", one.is_shown_over_subjects),
        ])  # fmt: skip
    return latex_table(header, rows, title, f"tab:paired_{found.metric}")


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    r"""A ``table`` with booktabs rules; needs ``\usepackage{booktabs}``.

    Args:
        header: LaTeX texts of the first row.
        rows: LaTeX texts, as many a row as the header has.
        caption: Plain text.
        label: For ``\ref``.
    """
    body = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join([
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex(caption)}.}}",
        rf"  \label{{{label.replace('_', '-')}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"    \toprule",
        "    " + " & ".join(header) + r" \\",
        r"    \midrule",
        *("    " + line for line in body),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def latex(text: str) -> str:
    """Plain text with LaTeX's own characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def _bold(text: str, is_bold: bool) -> str:
    return rf"\textbf{{{text}}}" if is_bold else text


def _csv(lines: list[list[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(
        [["" if value is None else value for value in line] for line in lines]
    )
    return buffer.getvalue()
