"""The live display of a run beneath a notebook's cell: what a terminal shows, redrawn in place.

One output that is updated, so that a saved notebook holds the last state alone. Needs no widgets.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from dwp_sweep.harness.dag.events import Event, Outcome
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.view.live import KEPT, LiveDisplay
from dwp_sweep.harness.view.text import event_text

_EVERY_S = 1.0
_WIDTH = 100
_N_KEPT = 20
_FORMAT = '<pre style="white-space:pre;overflow-x:auto;line-height:1.25;font-family:monospace">{code}</pre>'


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


def _ipython() -> tuple[Any, Any]:
    """``display`` and ``HTML``: there in every kernel, and nowhere else needed."""
    from IPython import display

    return display.display, display.HTML
