"""One table in every form: the same texts, escaped as each form needs it, what is best emphasised."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dwp_sweep.tables import (
    Table,
    TableCell,
    latex_of,
    left,
    markdown,
    notebook_html,
    plain_text,
    print_framed,
    print_tables,
    right,
    table_row,
)

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
    [terminal(), terminal(is_framed=True), plain_text(TABLE), markdown(TABLE).replace("\\|", "|")],
    ids=["terminal", "framed", "text", "markdown"],
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


def test_latex_holds_the_table_with_its_own_characters_escaped() -> None:
    text = latex_of(TABLE, "tab:toy_scores")
    assert r"a\_b $<$i$>$ $|$ [red] & \textbf{0.7} \\" in text
    assert r"\caption{Scores \& more.}" in text and r"\label{tab:toy-scores}" in text
