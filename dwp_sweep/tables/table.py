"""A table of an answer as plain values: one is made, and every form of output is rendered from it.

`renderers` has the forms. The classes hold texts only: the code that makes a table formats its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Align = Literal["left", "right"]
Emphasis = Literal["", "strong", "bad", "bar"]


@dataclass(frozen=True)
class TableColumn:
    """What stands above a column, and how its cells stand.

    Attributes:
        title: Empty where the column needs none.
        align: ``right`` for numbers.
        wraps: Whether its cells are sentences, which a page may break into lines.
    """

    title: str
    align: Align = "left"
    wraps: bool = False


@dataclass(frozen=True)
class TableCell:
    """Text of one cell.

    Attributes:
        text: Plain text.
        emphasis: ``strong`` for what is best, ``bad`` for what is missing or failed, ``bar`` for a bar.
        aside: After the text, set back; with the space before it.
        about: Shown where someone points at the cell, in forms that can.
    """

    text: str
    emphasis: Emphasis = ""
    aside: str = ""
    about: str = ""


@dataclass(frozen=True)
class Table:
    """A title, columns, rows, and what is to be said below.

    Attributes:
        columns: At least one.
        rows: Cells in the order of the columns; a row may end early.
        title: Heading.
        subtitle: Goes on after the title, less heavy.
        lines: Below the rows, never cut: run ids and addresses, which people copy.
        notes: What a reader should know.
    """

    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    title: str = ""
    subtitle: str = ""
    lines: tuple[TableCell, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_header(self) -> bool:
        """Whether any column has a title."""
        return any(column.title for column in self.columns)

    @property
    def texts(self) -> list[list[str]]:
        """The header, then every row, as plain texts."""
        header = [column.title for column in self.columns]
        return [header, *([cell.text + cell.aside for cell in row] for row in self.rows)]


def left(*titles: str) -> tuple[TableColumn, ...]:
    """Columns of words, aligned to the left."""
    return tuple(TableColumn(title) for title in titles)


def right(*titles: str) -> tuple[TableColumn, ...]:
    """Columns of numbers, aligned to the right."""
    return tuple(TableColumn(title, "right") for title in titles)


def table_row(texts: Iterable[str | TableCell], emphasis: Emphasis = "") -> tuple[TableCell, ...]:
    """Cells of a row; plain texts become cells, and all of them may be emphasised."""
    cells = (TableCell(text) if isinstance(text, str) else text for text in texts)
    return tuple(replace(cell, emphasis=emphasis) if emphasis else cell for cell in cells)


def plain_table(
    columns: Sequence[TableColumn], rows: Iterable[Iterable[str | TableCell]], title: str = ""
) -> Table:
    """A table of texts without lines and notes."""
    return Table(tuple(columns), tuple(table_row(cells) for cells in rows), title)
