"""One table in every form: the same texts, escaped as each form needs it, what is best emphasised."""

from __future__ import annotations

import io
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from dwp_sweep.errors import visible
from dwp_sweep.tables import (
    Table,
    TableCell,
    left,
    markdown,
    markdown_block,
    notebook_html,
    plain_text,
    print_framed,
    print_tables,
    right,
    table_row,
)
from tests.hostile_texts import any_text

TABLE = Table(
    (*left("method"), *right("Dice")),
    (
        table_row(["a_b <i> | [red]", TableCell("0.7", "strong")]),
        table_row(["c", TableCell("missing", "bad", " of 3")]),
    ),
    "Scores & more",
    ", by mean",
    table_row([TableCell("run r1", aside="  file:///x")]),
    ("50 % [note]",),
)


def terminal(width: int = 200, is_framed: bool = False) -> str:
    screen = io.StringIO()
    print_table = print_framed if is_framed else print_tables
    print_table((TABLE,), Console(file=screen, width=width))
    return screen.getvalue()


@pytest.mark.parametrize(
    "text",
    [terminal(), terminal(is_framed=True), plain_text(TABLE)],
    ids=["terminal", "framed", "text"],
)
def test_texts_stand_as_they_are(text: str) -> None:
    for part in ("Scores & more", "a_b <i> | [red]", "0.7", "missing of 3", "50 % [note]"):
        assert part in text


def test_addresses_are_never_cut_on_a_narrow_terminal() -> None:
    assert "run r1  file:///x" in terminal(width=8).splitlines()


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    assert plain_text(TABLE).splitlines()[1:4] == [
        "method                   Dice",
        "a_b <i> | [red]           0.7",
        "c                missing of 3",
    ]
    assert "| :-- | --: |" in markdown(TABLE)


def test_html_escapes_everything_and_marks_what_is_best() -> None:
    text = notebook_html((TABLE,))
    assert "a_b &lt;i&gt; | [red]" in text and "<i>" not in text
    assert "<b>0.7</b>" in text and "<b>Scores &amp; more</b>, by mean" in text
    assert text.count("<tr>") == 3


def test_a_table_without_titles_of_columns_has_no_header() -> None:
    bare = Table(left("", ""), (table_row(["lr", "0.1"]),))
    assert not bare.has_header and "<th" not in notebook_html((bare,))


class Cells(HTMLParser):
    """Texts of a page's cells, notes and bold lines, as a reader sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("td", "th", "li", "p", "b", "small", "div"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def of(text: str) -> Table:
    cell = TableCell(text, "strong")
    return Table(left(text, "other"), (table_row([cell, text]),), text, "", (cell,), (text,))


def line(text: str) -> str:
    return " ".join(visible(text, one_line=True).split())


@any_text
def test_any_text_is_one_cell_of_a_terminal(text: str) -> None:
    for print_table in (print_tables, print_framed):
        screen = io.StringIO()
        print_table((of(text),), Console(file=screen, width=5000, force_terminal=True, color_system=None))
        printed = screen.getvalue()
        assert visible(text, one_line=True) in printed
        assert not any(character in printed for character in "\x1b\x07\x00\r\u202e")


@any_text
def test_any_text_is_one_line_of_plain_text(text: str) -> None:
    lines = plain_text(of(text)).split("\n")
    assert len(lines) == 5 and len(plain_text(of(text)).splitlines()) in (4, 5)
    assert all(visible(text, one_line=True).rstrip() in printed for printed in lines if printed)


@any_text
def test_any_text_is_one_cell_of_markdown(text: str) -> None:
    page = Cells(MarkdownIt("gfm-like", {"linkify": False}).render(markdown(of(text))))
    shown = [" ".join(cell.split()) for cell in page.cells]
    if line(text):  # bold needs something to be bold
        assert page.tags <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}, (
            page.tags
        )
        assert shown == [line(text), line(text), "other", line(text), line(text), line(text)]


@any_text
def test_any_text_is_a_block_of_markdown_as_it_is(text: str) -> None:
    shown = visible(text.replace("\r", "\n"))
    (block,) = MarkdownIt("commonmark").parse(markdown_block(shown))
    assert block.type == "fence" and block.content == shown + "\n"


@any_text
def test_any_text_is_one_cell_of_html(text: str) -> None:
    page = Cells(notebook_html((of(text),)))
    assert page.tags <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "small"}
    assert [cell for cell in page.cells if cell not in ("", "other")] in (
        [visible(text, one_line=True)] * 6, [],
    )  # fmt: skip


def test_columns_of_wide_letters_are_aligned() -> None:
    table = Table(left("name", "m"), (table_row(["中文", "1"]), table_row(["abcdef", "2"])))
    assert plain_text(table).split("\n")[2:] == ["中文    1", "abcdef  2"]
