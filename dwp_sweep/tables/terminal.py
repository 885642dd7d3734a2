"""Tables on a terminal, with rich: titles and what is best bold, notes marked, addresses never cut."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from dwp_sweep.tables.table import Table, TableCell

_STYLES = {"": "", "strong": "bold", "bad": "red", "bar": "cyan"}


def print_tables(tables: tuple[Table, ...], console: Console) -> None:
    """Print tables one below the other, without lines between their cells."""
    for table in tables:
        if table.title:
            console.print(Text.assemble((table.title, "bold"), table.subtitle), soft_wrap=True)
        if table.rows:
            console.print(_columns(table))
        for line in table.lines:
            console.print(_cell(line), soft_wrap=True)
        for note in table.notes:
            console.print(Text.assemble(("note", "yellow"), " ", note), soft_wrap=True)


def print_framed(tables: tuple[Table, ...], console: Console) -> None:
    """Print tables with a frame around every cell, and all notes below the last one."""
    for table in tables:
        framed = RichTable(title=Text(table.title, "bold"), title_justify="left")
        _fill(framed, table)
        console.print(framed)
    for note in (note for table in tables for note in table.notes):
        console.print(Text.assemble(("*", "yellow"), " ", note))


def _columns(table: Table) -> RichTable:
    if not table.has_header:
        drawn = RichTable.grid(padding=(0, 2))
    else:
        drawn = RichTable(header_style="bold", box=None, padding=(0, 2))
    return _fill(drawn, table)


def _fill(drawn: RichTable, table: Table) -> RichTable:
    for column in table.columns:
        drawn.add_column(Text(column.title), justify=column.align)
    for row in table.rows:
        drawn.add_row(*map(_cell, row))
    return drawn


def _cell(cell: TableCell) -> Text:
    return Text.assemble((cell.text, _STYLES[cell.emphasis]), (cell.aside, "dim" if cell.aside else ""))
