"""A table of an answer as plain values, and its forms: terminal, text, Markdown, HTML.

The classes hold texts only: the code that makes a table formats its numbers. rich and jinja2 are imported by
the functions that need them: a command prints one form.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dwp_sweep.errors import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

Align = Literal["left", "right"]
Emphasis = Literal["", "strong", "bad", "bar"]
_STYLES = {"": "", "strong": "bold", "bad": "red", "bar": "cyan"}
_NOTEBOOK = """
{%- macro shown(cell) -%}
{% if cell.emphasis == "strong" %}<b>{{ cell.text }}</b>{% else %}{{ cell.text }}{% endif %}
{%- if cell.aside %}<small>{{ cell.aside }}</small>{% endif %}
{%- endmacro -%}
{%- for table in tables -%}
<div>
{%- if table.title %}<b>{{ table.title }}</b>{{ table.subtitle }}{% endif %}
{%- if table.rows %}<table>
{%- if table.has_header %}<thead><tr>
{%- for column in table.columns %}<th style="text-align:left">{{ column.title }}</th>{% endfor -%}
</tr></thead>{% endif %}<tbody>
{%- for row in table.rows %}<tr>
{%- for cell in row %}<td style="text-align:left">{{ shown(cell) }}</td>{% endfor -%}
</tr>{% endfor -%}
</tbody></table>{% endif %}
{%- for line in table.lines %}<div>{{ shown(line) }}</div>{% endfor %}
{%- for note in table.notes %}<div><small>{{ note }}</small></div>{% endfor -%}
</div>
{%- endfor -%}
"""
_MARKDOWN = re.compile(r"[\\`*<|~$]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|&(?=[#\w]+;)")
"""What Markdown would take for its own: a ``_`` within a word and a ``[`` without a link are none."""
_MARKDOWN_START = re.compile(r"^(?:(?=[-+>#=])|(\d{1,9})(?=[.)](?:\s|$)))")
"""A line that begins like this is a list, a heading or a quotation."""


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

    def visible(self) -> Table:
        """The same with every text in one line, its control characters written out: names may hold any."""

        def cell(shown: TableCell) -> TableCell:
            return replace(shown, text=_line(shown.text), aside=_line(shown.aside), about=_line(shown.about))

        return Table(
            columns=tuple(replace(column, title=_line(column.title)) for column in self.columns),
            rows=tuple(tuple(map(cell, row)) for row in self.rows),
            title=_line(self.title),
            subtitle=_line(self.subtitle),
            lines=tuple(map(cell, self.lines)),
            notes=tuple(map(_line, self.notes)),
        )


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


def print_tables(tables: tuple[Table, ...], console: Console) -> None:
    """Print tables one below the other, without lines between their cells; addresses are never cut."""
    from rich.table import Table as RichTable
    from rich.text import Text

    for table in map(Table.visible, tables):
        if table.title:
            console.print(Text.assemble((table.title, "bold"), table.subtitle), soft_wrap=True)
        if table.rows:
            if table.has_header:
                drawn = RichTable(header_style="bold", box=None, padding=(0, 2))
            else:
                drawn = RichTable.grid(padding=(0, 2))
            console.print(_filled(drawn, table))
        for line in table.lines:
            console.print(_rich_text(line), soft_wrap=True)
        for note in table.notes:
            console.print(Text.assemble(("note", "yellow"), " ", note), soft_wrap=True)


def print_framed(tables: tuple[Table, ...], console: Console) -> None:
    """Print tables with a frame around every cell, and all notes below the last one."""
    from rich.table import Table as RichTable
    from rich.text import Text

    tables = tuple(map(Table.visible, tables))
    for table in tables:
        framed = RichTable(title=Text(table.title, "bold"), title_justify="left")
        console.print(_filled(framed, table))
    for note in (note for table in tables for note in table.notes):
        console.print(Text.assemble(("*", "yellow"), " ", note))


def plain_text(*tables: Table) -> str:
    """Every table under its title, in aligned columns, notes below it."""
    parts = []
    for table in map(Table.visible, tables):
        parts.append(f"{table.title}\n{_aligned_lines(table)}")
        if table.notes:
            parts.append("\n".join(f"* {note}" for note in table.notes))
    return "\n\n".join(parts)


def markdown(*tables: Table) -> str:
    """Every table as a Markdown table under its title in bold, notes as a list below it.

    A text that Markdown would read as a link, as HTML, as a formula or as the end of a cell is escaped.
    """
    parts = []
    for table in map(Table.visible, tables):
        parts.append(f"**{_markdown(table.title.strip())}**\n\n{_markdown_lines(table)}")
        if table.notes:
            parts.append("\n".join(f"* {_markdown_line(note)}" for note in table.notes))
    return "\n\n".join(parts)


def markdown_block(text: str) -> str:
    """Lines that Markdown shows as they are: between fences longer than any in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def notebook_html(tables: tuple[Table, ...]) -> str:
    """Small HTML tables in the notebook's own colours, one below the other; all texts are escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_NOTEBOOK).render(tables=[table.visible() for table in tables])


@dataclass(frozen=True)
class Stat:
    """Summary of one metric.

    Attributes:
        mean: Arithmetic mean.
        std: Sample standard deviation (ddof 1); None for a single value.
        n: Number of values.
    """

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        """``0.712 (0.021)``: a cell of a table of scores."""
        return self._text(".3f", " ({:.3f})")

    def short(self) -> str:
        """``0.7382 (0.011)``: significant digits, for values of any size."""
        return self._text(".4g", " ({:.2g})")

    def plus_minus(self) -> str:
        """``0.712 ± 0.021``: a score within a line of text."""
        return self._text(".3f", " ± {:.3f}")

    def explained(self) -> str:
        """``0.7382 (std 0.0110, n = 2)``: with the words that a reader needs."""
        if self.std is None:
            return f"{self.mean:.4f} (one run: no spread known)"
        return self._text(".4f", " (std {:.4f}, ") + f"n = {self.n})"

    def _text(self, mean: str, spread: str) -> str:
        return format(self.mean, mean) + (spread.format(self.std) if self.std is not None else "")


def stat(values: Sequence[float]) -> Stat | None:
    """Summary of the finite values; None where there is none."""
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        return None
    return Stat(mean(finite), statistics.stdev(finite) if len(finite) > 1 else None, len(finite))


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of finite values, also where their sum is larger than a float can be."""
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)


def metric_columns(names: Iterable[str]) -> tuple[TableColumn, ...]:
    """Columns of means with their spread."""
    return right(*(f"{name} mean (std)" for name in names))


def short_means(metrics: Mapping[str, Stat], names: Iterable[str]) -> list[str]:
    """``0.7382 (0.011)`` for each metric; a dash where there is none."""
    return [metrics[name].short() if name in metrics else "-" for name in names]


def _filled(drawn: RichTable, table: Table) -> RichTable:
    from rich.text import Text

    for column in table.columns:
        drawn.add_column(Text(column.title), justify=column.align)
    for row in table.rows:
        drawn.add_row(*map(_rich_text, row))
    return drawn


def _rich_text(cell: TableCell) -> Text:
    from rich.text import Text

    return Text.assemble((cell.text, _STYLES[cell.emphasis]), (cell.aside, "dim" if cell.aside else ""))


def _line(text: str) -> str:
    return visible(text, one_line=True)


def _aligned_lines(table: Table) -> str:
    from rich.cells import cell_len  # Chinese letters take two columns, accents of their own none

    widths = [max(map(cell_len, column)) for column in zip(*table.texts, strict=True)]
    lines = []
    for line in table.texts:
        cells = []
        for column, text, width in zip(table.columns, line, widths, strict=True):
            gap = " " * (width - cell_len(text))
            cells.append(text + gap if column.align == "left" else gap + text)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _markdown_line(text: str) -> str:
    return _MARKDOWN_START.sub(r"\1\\", _markdown(text.strip()))


def _markdown_lines(table: Table) -> str:
    header, *rows = [[_markdown(text) for text in line] for line in table.texts]
    rule = [":--" if column.align == "left" else "--:" for column in table.columns]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *rows])
