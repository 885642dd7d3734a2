"""What several commands show alike on a terminal: lines, tables, short keys, progress on standard error.

It imports rich, which takes time: commands import this module when they run, not at their top. Texts are
shown as they are: nothing in a name is read as a style, and control characters are written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from dwp_sweep.errors import visible
from dwp_sweep.tables import print_framed

if TYPE_CHECKING:
    from dwp_sweep.report.answers.paper_table import PaperTable

# Rich assumes 80 columns where there is no terminal, which would cut the lines of a log.
_LOG_WIDTH = 200
_BAR_TEXT = 40
_N_KEY_DIGITS = 8


def standard_output() -> Console:
    """A console for results, wide where it is no terminal."""
    width = None if Console().is_terminal else _LOG_WIDTH
    return Console(width=width, markup=False, emoji=False, highlight=False)


def table_of_numbers(first: str, numbers: Iterable[str]) -> Table:
    """A table without lines: a column of names, then columns of numbers."""
    table = Table(box=None)
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def print_line(console: Console, *parts: str | tuple[str, str], style: str = "") -> None:
    """Print texts as they are in one line, which is never cut; a part may be (text, style)."""
    texts = [(part, "") if isinstance(part, str) else part for part in parts]
    line = Text.assemble(*((visible(text, one_line=True), look) for text, look in texts), style=style)
    console.print(line, soft_wrap=True)


def show_table(table: PaperTable, console: Console | None = None) -> None:
    """Print the paper's table: drawn on a terminal, plain text elsewhere."""
    console = console or standard_output()
    if console.is_terminal:
        print_framed(table.tables(), console)
    else:
        console.print(Text(table.text()), soft_wrap=True)


def short_key(key: str) -> str:
    """The beginning of a node's key by which people name the node."""
    return key[:_N_KEY_DIGITS]


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """One line on standard error that takes messages; nothing where that is no terminal."""
    console = Console(stderr=True, markup=False, emoji=False)
    if not console.is_terminal:
        yield lambda message: None
        return
    with console.status("") as status:
        yield lambda message: status.update(Text(visible(message, one_line=True)))


@contextmanager
def scan_bar(console: Console | None = None) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on standard error that takes (what, done, total); None where that is no terminal."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    bar = _Bar(console)
    try:
        yield bar
    finally:
        bar.stop()


class _Bar:
    """Appears with a data set's first scan and disappears with its last one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.stop()  # the bar of a data set that ended early, at a scan that cannot be read
        if self._progress is None:
            self._progress = Progress(console=self._console, transient=True)
            # A whole path would leave no room for the bar.
            text = visible(what, one_line=True)
            text = text if len(text) <= _BAR_TEXT else text[: _BAR_TEXT - 3] + "..."
            self._progress.add_task(escape(text), total=total)
            self._progress.start()
            self._what = what
        self._progress.update(self._progress.task_ids[0], completed=done)
        if done >= total:
            self.stop()

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
