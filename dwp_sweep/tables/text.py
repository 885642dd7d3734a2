"""Tables as plain text for logs and files, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable

from dwp_sweep.tables.table import Table


def plain_text(*tables: Table) -> str:
    """Every table under its title, in aligned columns, notes below it."""
    return _joined(tables, "{}\n{}", _aligned)


def markdown(*tables: Table) -> str:
    """Every table as a Markdown table under its title in bold, notes as a list below it."""
    return _joined(tables, "**{}**\n\n{}", _piped)


def _joined(tables: tuple[Table, ...], form: str, draw: Callable[[Table], str]) -> str:
    parts = []
    for table in tables:
        parts.append(form.format(table.title, draw(table)))
        if table.notes:
            parts.append("\n".join(f"* {note}" for note in table.notes))
    return "\n\n".join(parts)


def _aligned(table: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*table.texts, strict=True)]
    lines = (
        "  ".join(
            text.ljust(width) if column.align == "left" else text.rjust(width)
            for column, text, width in zip(table.columns, line, widths, strict=True)
        )
        for line in table.texts
    )
    return "\n".join(line.rstrip() for line in lines)


def _piped(table: Table) -> str:
    header, *rows = [[text.replace("|", "\\|") for text in line] for line in table.texts]
    rule = [":--" if column.align == "left" else "--:" for column in table.columns]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *rows])
