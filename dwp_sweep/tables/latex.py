"""Tables as LaTeX with booktabs rules, for papers."""

from __future__ import annotations

from collections.abc import Sequence

from dwp_sweep.tables.table import Table

_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "−": r"$-$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$",
}  # fmt: skip


def latex_of(table: Table, label: str) -> str:
    r"""A table as it stands, its title as the caption, what is strong bold.

    Args:
        table: Of plain texts.
        label: For ``\ref``.
    """
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
    return "".join(_ESCAPED.get(character, character) for character in text)


def bold(text: str, is_bold: bool) -> str:
    """LaTeX text, bold or as it is."""
    return rf"\textbf{{{text}}}" if is_bold else text
