"""What a person sees of a run: a live display on a terminal, else one line per event.

Reads the board, never changes it. Knows nothing of Ray.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console

from dwp_sweep.config.node import Node
from dwp_sweep.harness.board import Board
from dwp_sweep.harness.events import Event, Outcome

EPOCH_LINE_EVERY_S = 15.0
SHOWN_METRICS = ("test_dice", "best_val_dice", "val_dice", "best_val_loss", "val_loss", "train_loss")


class Progress(Protocol):
    """Follows one run: `open`, then events, then `close`."""

    def open(self, title: str, board: Board, where: Mapping[str, str]) -> None:
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
        from dwp_sweep.harness.notebook_display import NotebookDisplay

        return NotebookDisplay()
    if console.is_terminal:
        from dwp_sweep.harness.live_display import LiveDisplay

        return LiveDisplay(console)
    return LineProgress(console)


class LineProgress:
    """One line per event, for logs.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._board: Board | None = None
        self._n_slots = 1
        self._epoch_lines: dict[str, float] = {}

    def open(self, title: str, board: Board, where: Mapping[str, str]) -> None:
        """Say what will be done and where to look."""
        self._board = board
        self._line(f"{title}: {summary(board)}")
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
        # The start of a node has had its own line: the first epoch line comes later.
        last = self._epoch_lines.setdefault(key, now)
        if now - last < EPOCH_LINE_EVERY_S:
            return False
        self._epoch_lines[key] = now
        return True

    def _standing(self, event: Event) -> str:
        if self._board is None or event.kind not in ("done", "found", "failed"):
            return ""
        left = self._board.time_left_s(self._n_slots)
        n_ended, n_all = progress_counts(self._board)
        return f" [{n_ended}/{n_all}" + (f", about {duration(left)} left]" if left is not None else "]")

    def _line(self, text: str) -> None:
        gone = time.monotonic() - self._board.started_s if self._board else 0.0
        self._console.print(f"{gone:8.1f} s  {text}", soft_wrap=True, markup=False)


def event_text(event: Event) -> str:
    """One line that says what happened."""
    title = event.node.title if event.node else ""
    match event.kind:
        case "note":
            return event.text
        case "started":
            return f"started  {title}"
        case "reading":
            return f"running  {title}: {event.text}"
        case "epoch":
            return f"running  {title}: epoch {event.epoch}/{event.n_epochs}{metric_text(event.metrics, ', ')}"
        case "done":
            return f"done     {title} in {duration(event.wall_s)}{metric_text(event.metrics, ', ')}"
        case "failed":
            return f"FAILED   {title}: {event.text}"
        case "blocked":
            return f"blocked  {title}: {event.text}"
        case "again":
            return f"again    {title}: {event.text.splitlines()[0]}"
        case "pruned":
            return f"given up {title}: {event.text}"
        case "stopped":
            return f"stopped  {title} at its checkpoint"
        case "elsewhere":
            return f"left to  {title}: {event.text}"
        case "found":
            return f"found    {title}: {event.text}{metric_text(event.metrics, ', ')}"


def metric_text(metrics: Mapping[str, float], before: str = "") -> str:
    """The most telling one of a node's metrics, or nothing."""
    for name in SHOWN_METRICS:
        if name in metrics:
            return f"{before}{name} {metrics[name]:.3f}"
    return ""


def outcome_text(outcome: Outcome) -> str:
    """How the run ended, in one line."""
    words = {"done": "built", "cached": "cached", "failed": "failed", "blocked": "blocked",
             "pruned": "given up", "waiting": "left"}  # fmt: skip
    counts = ", ".join(
        f"{outcome.counts[name]} {word}" for name, word in words.items() if outcome.counts.get(name)
    )
    start = {
        0: "all done",
        1: "ended with failures",
        3: f"stopped by the budget ({outcome.spent}); the same command goes on with a fresh one",
        130: "stopped; the same command goes on from here",
    }
    return (
        f"{start.get(outcome.exit_code, 'ended')} in {duration(outcome.wall_s)}: {counts or 'nothing to do'}"
    )


def summary(board: Board) -> str:
    """What a run has before it, in one line."""
    counts = board.counts()
    to_build = sum(counts.get(state, 0) for state in ("ready", "waiting", "elsewhere", "queued", "running"))
    rest = [f"{counts[state]} {state}" for state in ("cached", "failed", "blocked") if counts.get(state)]
    if board.n_studies:
        return ", ".join([_search_words(board), *([f"{to_build} nodes to build"] if to_build else []), *rest])
    return ", ".join([f"{to_build} nodes to build", *rest])


def _search_words(board: Board) -> str:
    n, studies = board.n_to_ask, f"{board.n_studies} stud{'y' if board.n_studies == 1 else 'ies'}"
    return f"search: {n} configuration{'' if n == 1 else 's'} to try in {studies}"


def progress_counts(board: Board) -> tuple[int, int]:
    """Nodes that have ended, cached ones included, and all nodes, targets of a search to come included."""
    counts = board.counts()
    n_all = sum(counts.values()) - counts.get("unneeded", 0) + board.n_to_ask * board.n_repeats
    return sum(counts.get(state, 0) for state in ("done", "cached", "pruned", "failed", "blocked")), n_all


def duration(seconds: float) -> str:
    """Seconds for people: ``0.8 s``, ``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def stage_rows(board: Board) -> list[tuple[str, dict[str, int]]]:
    """Stage -> number of nodes done (cached ones included), running, waiting, failed, blocked."""
    column = {
        "cached": "done", "done": "done", "pruned": "done", "running": "running", "elsewhere": "running",
        "queued": "waiting", "ready": "waiting", "waiting": "waiting",
        "failed": "failed", "blocked": "blocked",
    }  # fmt: skip
    rows = {stage: dict.fromkeys(column.values(), 0) for stage in board.stages}
    for key, state in list(board.states.items()):
        if state in column:
            rows[board.nodes[key].stage][column[state]] += 1
    return list(rows.items())


def node_lines(nodes: tuple[Node, ...], n_shown: int = 5) -> str:
    """Titles of some nodes, and how many more there are."""
    titles = ", ".join(node.title for node in nodes[:n_shown])
    return titles + (f" and {len(nodes) - n_shown} more" if len(nodes) > n_shown else "")
