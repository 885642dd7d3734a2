"""One updating line on a terminal while ``plan`` and ``run`` check scans, which takes minutes on large data.

Gone before anything else draws: the live display of a run begins after the last check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

_WIDTH = 40


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
    """Appears with a data set's first scan and goes with its last one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.stop()  # one that ended early, at a scan that cannot be read
        if self._progress is None:
            self._progress = Progress(console=self._console, transient=True)
            # A whole path would leave no room for the bar.
            text = what if len(what) <= _WIDTH else what[: _WIDTH - 3] + "..."
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
