"""The live display of a run, on a terminal or below the cell of a notebook: stages, running nodes, time left.

It is redrawn in place; failures and notes are printed above it and stay. The ledger is read from another
thread, hence the copies. A notebook has one output that is updated: a saved notebook shows the last state.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dwp_sweep.errors import visible
from dwp_sweep.harness.cost.durations import node_left_s
from dwp_sweep.harness.dag.in_hand import Work
from dwp_sweep.harness.dag.ledger import Event, Ledger, Outcome
from dwp_sweep.harness.view.text import (
    duration,
    event_text,
    metric_text,
    outcome_text,
    progress_counts,
    run_left_s,
    search_lines,
    stage_rows,
)

KEPT = ("failed", "stalled", "retry", "note", "stopped")
"""Kinds of events that stay on the screen."""
_STYLES = {"failed": "bold red", "stalled": "bold red", "retry": "yellow", "note": "dim", "stopped": "yellow"}
_N_RUNNING_SHOWN = 12
_N_LINES = 5
"""Of a search: configurations by state, and the best ones of its first studies."""
_SPACE_BELOW = (0, 0, 1, 0)
_EVERY_S = 1.0
_WIDTH = 100
_N_KEPT = 20
_FORMAT = '<pre style="white-space:pre;overflow-x:auto;line-height:1.25;font-family:monospace">{code}</pre>'


class LiveDisplay:
    """Shows a run while it runs.

    Args:
        console: The terminal.
        stop_by: What a person does to stop the run.
    """

    def __init__(self, console: Console, stop_by: str = "Ctrl-C") -> None:
        self._console, self._stop_by = console, stop_by
        self._live: Live | None = None
        self._ledger: Ledger | None = None
        self._title = ""
        self._where: Mapping[str, str] = {}
        self._n_slots = 0
        self._outcome: Outcome | None = None

    def open(self, title: str, ledger: Ledger, where: Mapping[str, str]) -> None:
        """Start to draw."""
        self.follow(title, ledger, where)
        self._live = Live(get_renderable=self.render, console=self._console, refresh_per_second=4)
        self._live.start()

    def follow(self, title: str, ledger: Ledger, where: Mapping[str, str]) -> None:
        """Look at a run without drawing, for a display that shows `render` by other means."""
        self._title, self._ledger, self._where = title, ledger, where

    def event(self, event: Event) -> None:
        """Print failures and notes above the display, where they stay."""
        if event.kind in KEPT:
            self._console.print(Text(visible(event_text(event)), style=_STYLES[event.kind]), soft_wrap=True)

    def slots(self, n_slots: int) -> None:
        """Remember it for the time left."""
        self._n_slots = n_slots

    def close(self, outcome: Outcome | None) -> None:
        """Draw the last state and leave it on the screen."""
        self._outcome = outcome
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self) -> RenderableType:
        """The display as it is now."""
        ledger = self._ledger
        if ledger is None:
            return Text("")
        parts: list[RenderableType] = [Text(""), self._head(ledger), Padding(_stages(ledger), (1, 0))]
        if lines := search_lines(ledger):
            parts.append(
                Padding(
                    Group(*(Text(visible(line, one_line=True)) for line in lines[:_N_LINES])), _SPACE_BELOW
                )
            )
        if self._outcome is None:
            running = ledger.in_hand.running()
            if running:
                parts.append(_running(ledger, running))
            elif not ledger.is_draining and not ledger.builders:
                text = "starting workers ..." if self._n_slots else "starting Ray ..."
                parts.append(Padding(Text(text, style="cyan"), _SPACE_BELOW))
            if ledger.builders:
                parts.append(_leased_by_others(ledger))
        return Padding(Group(*parts, self._foot(ledger)), (0, 1))

    def _head(self, ledger: Ledger) -> RenderableType:
        n_ended, n_all = progress_counts(ledger)
        head = Table.grid(expand=True, padding=(0, 2))
        head.add_column()
        head.add_column(ratio=1)
        head.add_column(justify="right")
        bar = ProgressBar(max(n_all, 1), n_ended, complete_style="green", finished_style="green")
        nodes = f"{n_ended}/{n_all} nodes  {self._time(ledger)}"
        head.add_row(Text(visible(self._title, one_line=True), style="bold"), bar, Text(nodes))
        return head

    def _time(self, ledger: Ledger) -> str:
        if self._outcome is not None:
            return duration(self._outcome.wall_s)
        gone = duration(float(int(ledger.wall_s)) + 1e-9).replace(".0 s", " s")
        left = run_left_s(ledger, self._n_slots)
        if ledger.is_draining:
            return f"{gone}, stopping"
        return f"{gone}, about {_coarse(left)} left" if left is not None else gone

    def _foot(self, ledger: Ledger) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for label, place in self._where.items():
            table.add_row(
                Text(label, style="dim"), Text(visible(place, one_line=True), style="dim", overflow="fold")
            )
        if self._outcome is not None:
            style = "bold green" if self._outcome.exit_code == 0 else "bold red"
            return Group(table, Text(""), Text(outcome_text(self._outcome), style=style))
        hint = "stops after the epoch; the same command goes on"
        if ledger.is_draining:
            hint = f"{self._stop_by} once more ends at once"
        table.add_row(Text(self._stop_by, style="dim"), Text(hint, style="dim"))
        return table


class NotebookDisplay:
    """Shows a run while it runs, in the output of a notebook's cell."""

    def __init__(self) -> None:
        self._view = LiveDisplay(Console(file=io.StringIO()), stop_by="Interrupt")
        self._kept: list[str] = []
        self._ipython: Any = None
        self._handle: Any = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, title: str, ledger: Ledger, where: Mapping[str, str]) -> None:
        """Start to draw."""
        from IPython import display  # every kernel has it, other processes may not

        self._view.follow(title, ledger, where)
        self._ipython = display
        self._handle = self._ipython.display(self._ipython.HTML(self._html()), display_id=True)
        self._thread = threading.Thread(target=self._redraw, name="dwp-sweep notebook display", daemon=True)
        self._thread.start()

    def event(self, event: Event) -> None:
        """Keep failures and notes above the display."""
        if event.kind in KEPT:
            self._kept.append(event_text(event))

    def slots(self, n_slots: int) -> None:
        """Remember it for the time left."""
        self._view.slots(n_slots)

    def close(self, outcome: Outcome | None) -> None:
        """Draw the last state and leave it there."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._view.close(outcome)
        self._update()

    def _redraw(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._update()

    def _update(self) -> None:
        if self._handle is not None:
            self._handle.update(self._ipython.HTML(self._html()))

    def _html(self) -> str:
        console = Console(
            file=io.StringIO(), record=True, width=_WIDTH, force_terminal=True, force_jupyter=False,
            highlight=False,
        )  # fmt: skip
        n_hidden = len(self._kept) - _N_KEPT
        lines = [f"... {n_hidden} more before"] if n_hidden > 0 else []
        lines += self._kept[-_N_KEPT:]
        console.print(Group(*(Text(line) for line in lines), self._view.render()))
        return console.export_html(inline_styles=True, code_format=_FORMAT)


def _stages(ledger: Ledger) -> RenderableType:
    rows = stage_rows(ledger)
    styles = {"done": "green", "running": "cyan", "waiting": "", "failed": "bold red", "blocked": "red"}
    shown = [name for name in styles if name != "blocked" or any(row["blocked"] for _, row in rows)]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("stage", min_width=9)
    for name in shown:
        table.add_column(name, justify="right", min_width=7)
    table.add_column("", min_width=20)
    for stage, row in rows:
        counts = [
            Text(str(row[name]), style=styles[name]) if row[name] else Text("·", style="dim")
            for name in shown
        ]
        bar = ProgressBar(max(sum(row.values()), 1), row["done"], width=20, complete_style="green")
        table.add_row(stage, *counts, bar)
    return table


def _running(ledger: Ledger, running: list[Work]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    for justify in ("left", "right", "left", "left", "right"):
        table.add_column(justify=justify, no_wrap=True)
    for work in running[:_N_RUNNING_SHOWN]:
        table.add_row(Text(visible(work.node.title, one_line=True)), *_running_row(ledger, work))
    hidden = len(running) - _N_RUNNING_SHOWN
    lines = [table, Text(f"and {hidden} more", style="dim")] if hidden > 0 else [table]
    return Padding(Group(*lines), _SPACE_BELOW)


def _running_row(ledger: Ledger, work: Work) -> tuple[RenderableType, ...]:
    """Epoch, bar, metric or activity, and time."""
    if work.n_epochs and not work.reading:
        left = node_left_s(work.progress(ledger.wall_s), ledger.durations)
        return (
            Text(f"epoch {work.epoch}/{work.n_epochs}"),
            ProgressBar(work.n_epochs, work.epoch, width=20, complete_style="cyan"),
            Text(metric_text(work.metrics)),
            Text(f"{_coarse(left)} left" if left is not None else "", style="dim"),
        )
    bar: RenderableType = Text("")
    if work.reading:
        n_read, n_scans = work.reading
        bar = ProgressBar(n_scans, n_read, width=20, complete_style="cyan")
    gone = duration(work.progress(ledger.wall_s).ran_s)
    return Text(""), bar, Text(visible(work.activity, one_line=True), style="dim"), Text(gone, style="dim")


def _leased_by_others(ledger: Ledger) -> RenderableType:
    builders = list(ledger.builders.items())
    lines = [f"{ledger.board.nodes[key].title}: built by {by}" for key, by in builders[:_N_RUNNING_SHOWN]]
    hidden = len(builders) - len(lines)
    lines += [f"and {hidden} more"] if hidden else []
    return Padding(Group(*(Text(line, style="dim") for line in lines)), _SPACE_BELOW)


def _coarse(seconds: float) -> str:
    """Time left without false precision."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 100:
        return f"{5 * round(seconds / 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
