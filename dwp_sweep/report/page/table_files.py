"""A report's tables as files: LaTeX for papers, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from dwp_sweep.errors import visible
from dwp_sweep.tables import Table

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "−": r"$-$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "`": r"\textasciigrave{}",
}  # fmt: skip


def latex_of(table: Table, label: str) -> str:
    r"""A table as it stands, its title as the caption, what is strong bold.

    Args:
        table: Of plain texts.
        label: For ``\ref``.
    """
    table = table.visible()
    header = [latex(column.title) for column in table.columns]
    rows = [[bold(latex(cell.text), cell.emphasis == "strong") for cell in row] for row in table.rows]
    return latex_table(header, rows, table.title, label)


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    r"""A ``table`` with booktabs rules; needs ``\usepackage{booktabs}``.

    Args:
        header: LaTeX texts of the first row.
        rows: LaTeX texts, as many a row as the header has.
        caption: Plain text.
        label: For ``\ref``.
    """
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
        *("    " + " & ".join(row) + r" \\" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    """Rows as CSV; None is an empty cell.

    Texts are kept as they are, also those that begin with ``=`` or ``@``: a spreadsheet evaluates them unless
    it is told to read text.
    """
    rows = []
    for line in lines:
        buffer = io.StringIO()
        # The writer quotes what holds a character of its line end: both may stand within a text.
        csv.writer(buffer, lineterminator="\r\n").writerow(line)
        rows.append(buffer.getvalue().removesuffix("\r\n") + "\n")
    return "".join(rows)


def latex(text: str) -> str:
    """Plain text with LaTeX's own characters escaped, in one line."""
    escaped = "".join(_LATEX.get(character, character) for character in visible(text, one_line=True)).replace(
        "--", "-{}-"
    )
    # After the end of a row a bracket or a star would be its option.
    return ("{}" if text.startswith(("[", "(", "*")) else "") + escaped.replace("--", "-{}-")


def bold(text: str, is_bold: bool) -> str:
    """LaTeX text, bold or as it is."""
    return rf"\textbf{{{text}}}" if is_bold else text
