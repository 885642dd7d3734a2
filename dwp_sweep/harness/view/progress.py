"""What shows a run while it runs: a live display on a terminal or in a notebook, else one line per event."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.text import Text

from dwp_sweep.errors import visible
from dwp_sweep.harness.dag.ledger import Event, Ledger, Outcome
from dwp_sweep.harness.view.text import (
    duration,
    event_text,
    outcome_text,
    progress_counts,
    run_left_s,
    summary,
)

EPOCH_LINE_EVERY_S = 15.0
_LEAST_LEFT_S = 0.1


class Progress(Protocol):
    """Follows one run: `open`, then events, then `close`."""

    def open(self, title: str, ledger: Ledger, where: Mapping[str, str]) -> None:
        """A run begins; ``where`` says where to look: label -> address or folder."""

    def event(self, event: Event) -> None:
        """Something happened."""

    def slots(self, n_slots: int) -> None:
        """How many nodes run at once, as soon as the cluster is known."""

    def close(self, outcome: Outcome | None) -> None:
        """The run ended; None: by an exception."""


def default_progress(console: Console | None = None) -> Progress:
    """The live display on a terminal and in a notebook, lines elsewhere."""
    console = console or Console(highlight=False)
    if console.is_jupyter:
        from dwp_sweep.harness.view.live import NotebookDisplay

        return NotebookDisplay()
    if console.is_terminal:
        from dwp_sweep.harness.view.live import LiveDisplay

        return LiveDisplay(console)
    return LineProgress(console)


class LineProgress:
    """One line per event, for logs.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ledger: Ledger | None = None
        self._n_slots = 1
        self._epoch_lines: dict[str, float] = {}

    def open(self, title: str, ledger: Ledger, where: Mapping[str, str]) -> None:
        """Say what will be done and where to look."""
        self._ledger = ledger
        self._line(f"{title}: {summary(ledger)}")
        for label, place in where.items():
            self._line(f"{label}: {place}")

    def event(self, event: Event) -> None:
        """Print the event; epochs and scans of one node not more often than every few seconds."""
        if event.kind in ("epoch", "reading") and not self._is_due(event):
            return
        self._line(event_text(event) + self._standing(event))

    def slots(self, n_slots: int) -> None:
        """Remember it for the time left."""
        self._n_slots = n_slots

    def close(self, outcome: Outcome | None) -> None:
        """Say how the run ended."""
        if outcome is not None:
            self._line(outcome_text(outcome))

    def _is_due(self, event: Event) -> bool:
        key = event.node.key if event.node else ""
        now = time.monotonic()
        # The start of a node has its own line: the first epoch line comes later.
        last = self._epoch_lines.setdefault(key, now)
        if now - last < EPOCH_LINE_EVERY_S:
            return False
        self._epoch_lines[key] = now
        return True

    def _standing(self, event: Event) -> str:
        if self._ledger is None or event.kind not in ("done", "published_by_other", "failed"):
            return ""
        left = run_left_s(self._ledger, self._n_slots)
        n_ended, n_all = progress_counts(self._ledger)
        is_known = left is not None and left >= _LEAST_LEFT_S  # what runs takes longer than expected
        return f" [{n_ended}/{n_all}" + (f", about {duration(left or 0.0)} left]" if is_known else "]")

    def _line(self, text: str) -> None:
        gone = self._ledger.wall_s if self._ledger else 0.0
        with contextlib.suppress(OSError):  # a pipe whose reader has ended does not end the run
            self._console.print(Text(f"{gone:8.1f} s  {visible(text)}"), soft_wrap=True)
