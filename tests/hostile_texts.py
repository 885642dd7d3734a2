"""Texts of users that a figure or a table could take for its own language, and what a figure really draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from dwp_sweep.errors import visible

HOSTILE = (
    "$x$", r"$\frac{1}$", "cost in $", r"\$5 or \$6", r"\textbf{x}", "\\", "_hidden_", "a_b_c", "snow_*_man",
    "<script>alert(1)</script>", "&amp; 100 %", "{{ 7 * 7 }} {% raw %}", "two\nlines", "tab\tand\rreturn",
    "\x1b[31mred\x07", "\x00 null", "=1+1", "@SUM(A1)", "+1", "-1", "a|b", r"a\|b", "*bold* `code` **b**",
    "[link](http://x.y)", "![i](j)", "[x]: http://y", "[red]x[/red]", ":smile:", "# head", "1. one",
    "> quote", "~~gone~~", "'quote' \"double\"", "a--b---c", "``a''", "^2 ~ 3 #4", "שלום", "مرحبا",
    "\u202eevil\u202c", "\udcff.nii.gz", "end\u2028of line", "very long name " * 40, "x" * 600, "%s %d {0}",
    "nan", "[2pt]", "(a)", "    indented",
)  # fmt: skip

WORST = ("$x$", "cost in $", "_hidden_", "<script>alert(1)</script>", "&amp; 100 %", "{{ 7 * 7 }} {% raw %}",
         "tab\tand\rreturn", "\x1b[31mred\x07", "=1+1", "a|b", "[2pt]", "very long name " * 40)  # fmt: skip
"""A few for tests that take long."""


def hostile_texts(n: int) -> list[tuple[str, ...]]:
    """All of them, so many at a time."""
    return [HOSTILE[start : start + n] for start in range(0, len(HOSTILE), n)]


_TEXTS = st.text(st.characters(), max_size=30) | st.sampled_from(HOSTILE)
"""Of any characters, bytes that are no text among them."""


def any_text(test: Callable[[str], None]) -> Callable[[], None]:
    """Runs a test with texts of any characters, and with every hostile one."""
    for text in HOSTILE:
        test = example(text)(test)
    return settings(max_examples=100, deadline=None, derandomize=True)(given(_TEXTS)(test))


def in_figures(text: str) -> str:
    """What a figure should show of a text, without the spaces at which it may break a line."""
    return "".join(visible(text, one_line=True).split())


@contextmanager
def figures_saved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that are saved meanwhile; they are drawn all the same."""
    saved: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: object, **options: object) -> None:
        saved.append(figure)
        save(figure, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        yield saved


def assert_drawn(figure: Figure, *texts: str) -> None:
    """Every text stands in the figure as it is; a long one by its beginning and its end."""
    strings = []
    for drawn in figure.findobj(Text):
        assert isinstance(drawn, Text)
        lines = [drawn._preprocess_math(line) for line in drawn.get_text().split("\n")]
        # Ticks of a logarithmic axis are matplotlib's own formulas.
        assert not any(is_math and r"\mathdefault" not in line for line, is_math in lines), drawn.get_text()
        strings.append("".join("".join(line for line, _ in lines).split()))
    for text in map(in_figures, texts):
        begin, end = (text[:8], text[-6:]) if len(text) > 20 else (text, text)
        assert any(begin in string and end in string for string in strings), (text, strings)
