"""The live display of a run, on a terminal or below the cell of a notebook: stages, running nodes, time left.

It is redrawn in place; failures and notes are printed above it and stay. The ledger is read from another
thread, hence the copies. A notebook has one output that is updated: a saved notebook shows the last state.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dwp_sweep.harness.dag.ledger import Event, Ledger, Outcome
from dwp_sweep.harness.dag.work import Work
from dwp_sweep.harness.view.text import (
    duration,
    event_text,
    metric_text,
    outcome_text,
    progress_counts,
    stage_rows,
)

KEPT = ("failed", "retry", "note", "stopped")
"""What must not be missed."""
_STYLES = {"failed": "bold red", "retry": "yellow", "note": "dim", "stopped": "yellow"}
_N_RUNNING_SHOWN = 12
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
        """Look at a run without drawing: for whoever shows `render` by other means."""
        self._title, self._ledger, self._where = title, ledger, where

    def event(self, event: Event) -> None:
        """Print above the display what must stay."""
        if event.kind in KEPT:
            self._console.print(Text(event_text(event), style=_STYLES[event.kind]), soft_wrap=True)

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
        if self._ledger is None:
            return Text("")
        parts: list[RenderableType] = [Text(""), self._head(self._ledger), self._stages(self._ledger)]
        running = self._ledger.in_hand.running()
        if self._outcome is None and running:
            parts.append(self._running(self._ledger, running))
        elif self._outcome is None and not self._ledger.is_draining and not self._ledger.builders:
            parts.append(self._idle())
        if self._outcome is None and self._ledger.builders:
            parts.append(self._leased_by_others(self._ledger))
        return Padding(Group(*parts, self._foot(self._ledger)), (0, 1))

    def _head(self, ledger: Ledger) -> RenderableType:
        n_ended, n_all = progress_counts(ledger)
        head = Table.grid(expand=True, padding=(0, 2))
        head.add_column()
        head.add_column(ratio=1)
        head.add_column(justify="right")
        head.add_row(
            Text(self._title, style="bold"),
            ProgressBar(
                total=max(n_all, 1), completed=n_ended, complete_style="green", finished_style="green"
            ),
            Text(f"{n_ended}/{n_all} nodes  {self._time(ledger)}"),
        )
        return head

    def _time(self, ledger: Ledger) -> str:
        if self._outcome is not None:
            return duration(self._outcome.wall_s)
        gone = duration(float(int(ledger.wall_s)) + 1e-9).replace(".0 s", " s")
        left = ledger.time_left_s(self._n_slots)
        if ledger.is_draining:
            return f"{gone}, stopping"
        return f"{gone}, about {_coarse(left)} left" if left is not None else gone

    def _stages(self, ledger: Ledger) -> RenderableType:
        rows = stage_rows(ledger)
        columns = ["done", "running", "waiting", "failed", "blocked"]
        shown = [name for name in columns if name != "blocked" or any(row["blocked"] for _, row in rows)]
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        table.add_column("stage", min_width=9)
        for name in shown:
            table.add_column(name, justify="right", min_width=7)
        table.add_column("", min_width=20)
        for stage, row in rows:
            table.add_row(stage, *[_count(name, row[name]) for name in shown], _bar(row))
        return Padding(table, (1, 0))

    def _idle(self) -> RenderableType:
        text = "starting workers ..." if self._n_slots else "starting Ray ..."
        return Padding(Text(text, style="cyan"), (0, 0, 1, 0))

    def _running(self, ledger: Ledger, running: list[Work]) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
        for justify in ("left", "right", "left", "left", "right"):
            table.add_column(justify=justify, no_wrap=True)
        for work in running[:_N_RUNNING_SHOWN]:
            table.add_row(*_running_row(ledger, work))
        hidden = len(running) - _N_RUNNING_SHOWN
        lines = [table, Text(f"and {hidden} more", style="dim")] if hidden > 0 else [table]
        return Padding(Group(*lines), (0, 0, 1, 0))

    def _leased_by_others(self, ledger: Ledger) -> RenderableType:
        builders = list(ledger.builders.items())
        lines = [f"{ledger.board.nodes[key].title}: built by {by}" for key, by in builders[:_N_RUNNING_SHOWN]]
        hidden = len(builders) - len(lines)
        lines += [f"and {hidden} more"] if hidden else []
        return Padding(Group(*(Text(line, style="dim") for line in lines)), (0, 0, 1, 0))

    def _foot(self, ledger: Ledger) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for label, place in self._where.items():
            table.add_row(Text(label, style="dim"), Text(place, style="dim", overflow="fold"))
        if self._outcome is not None:
            style = "bold green" if self._outcome.exit_code == 0 else "bold red"
            return Group(table, Text(""), Text(outcome_text(self._outcome), style=style))
        hint = (
            f"{self._stop_by} once more ends at once"
            if ledger.is_draining
            else "stops after the epoch; the same command goes on"
        )
        table.add_row(Text(self._stop_by, style="dim"), Text(hint, style="dim"))
        return table


class NotebookDisplay:
    """Shows a run while it runs, in the output of a notebook's cell."""

    def __init__(self) -> None:
        self._view = LiveDisplay(Console(file=io.StringIO()), stop_by="Interrupt")
        self._kept: list[str] = []
        self._handle: Any = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, title: str, ledger: Ledger, where: Mapping[str, str]) -> None:
        """Start to draw."""
        self._view.follow(title, ledger, where)
        display, html = _ipython()
        self._handle = display(html(self._html()), display_id=True)
        self._thread = threading.Thread(target=self._redraw, name="dwp-sweep notebook display", daemon=True)
        self._thread.start()

    def event(self, event: Event) -> None:
        """Keep above the display what must stay."""
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
            _, html = _ipython()
            self._handle.update(html(self._html()))

    def _html(self) -> str:
        console = Console(
            file=io.StringIO(),
            record=True,
            width=_WIDTH,
            force_terminal=True,
            force_jupyter=False,
            highlight=False,
        )
        n_hidden = len(self._kept) - _N_KEPT
        lines = [f"... {n_hidden} more before"] if n_hidden > 0 else []
        lines += self._kept[-_N_KEPT:]
        console.print(Group(*(Text(line) for line in lines), self._view.render()))
        return console.export_html(inline_styles=True, code_format=_FORMAT)


def _running_row(ledger: Ledger, work: Work) -> tuple[RenderableType, ...]:
    if not work.n_epochs or work.reading:
        gone = duration(time.monotonic() - (work.started_s or time.monotonic()))
        return (
            Text(work.node.title),
            Text(""),
            ProgressBar(total=work.reading[1], completed=work.reading[0], width=20, complete_style="cyan")
            if work.reading
            else Text(""),
            Text(work.activity, style="dim"),
            Text(gone, style="dim"),
        )
    left = ledger.work_left_s(work)
    return (
        Text(work.node.title),
        Text(f"epoch {work.epoch}/{work.n_epochs}"),
        ProgressBar(total=work.n_epochs, completed=work.epoch, width=20, complete_style="cyan"),
        Text(metric_text(work.metrics)),
        Text(f"{_coarse(left)} left" if left is not None else "", style="dim"),
    )


def _count(name: str, count: int) -> Text:
    styles = {"done": "green", "running": "cyan", "failed": "bold red", "blocked": "red"}
    return Text(str(count) if count else "·", style=styles.get(name, "") if count else "dim")


def _bar(row: Mapping[str, int]) -> RenderableType:
    return ProgressBar(
        total=max(sum(row.values()), 1), completed=row["done"], width=20, complete_style="green"
    )


def _coarse(seconds: float) -> str:
    """Time left without false precision."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 100:
        return f"{5 * round(seconds / 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _ipython() -> tuple[Any, Any]:
    """``display`` and ``HTML``: there in every kernel, and nowhere else needed."""
    from IPython import display

    return display.display, display.HTML
