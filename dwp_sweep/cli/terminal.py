"""What several commands show alike on a terminal: tables of numbers, short keys, progress on standard error.

It imports rich, which takes time: commands import this module when they run, not at their top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

# Rich assumes 80 columns where there is no terminal, which would cut the lines of a log.
_LOG_WIDTH = 200
_BAR_TEXT = 40
_N_KEY_DIGITS = 8


def standard_output() -> Console:
    """A console for results, wide where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=_LOG_WIDTH)


def table_of_numbers(first: str, numbers: Iterable[str]) -> Table:
    """A table without lines: a column of names, then columns of numbers."""
    table = Table(box=None)
    table.add_column(first)
    for name in numbers:
        table.add_column(escape(name), justify="right")
    return table


def print_line(console: Console, text: str) -> None:
    """Print a text as it is, uncut and without colours."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def short_key(key: str) -> str:
    """The beginning of a node's key by which people name the node."""
    return key[:_N_KEY_DIGITS]


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """One line on standard error that takes messages; nothing where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda message: None
        return
    with console.status("") as status:
        yield lambda message: status.update(escape(message))


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
            text = what if len(what) <= _BAR_TEXT else what[: _BAR_TEXT - 3] + "..."
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
