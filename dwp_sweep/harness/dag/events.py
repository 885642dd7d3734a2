"""What happens in a run, in words that a display understands, and how it ended.

Shared by the ledger (which tells) and the displays (which show).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dwp_sweep.config.node import Node

EventKind = Literal[
    "started",
    "reading",
    "epoch",
    "done",
    "failed",
    "blocked",
    "retry",
    "stopped",
    "pruned",
    "leased_by_other",
    "published_by_other",
    "note",
]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What happened; ``reading``: scans are prepared, ``retry``: the node is tried once more,
            ``stopped``: it left at its checkpoint, ``pruned``: a search gave it up, ``leased_by_other``:
            another run is building it, ``published_by_other``: another run has published it.
        node: To which node; None for a ``note``.
        text: Message of a failure, reason, how far the reading is, or the note itself; one line.
        wall_s: Seconds of work, for ``done``.
        metrics: Last metrics, for ``done`` and ``epoch``.
        epoch: Epochs done, for ``epoch``.
        n_epochs: Largest number of epochs, for ``epoch``.
    """

    kind: EventKind
    node: Node | None = None
    text: str = ""
    wall_s: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: int = 0
    n_epochs: int = 0


Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        exit_code: 0 all done, 1 some node failed or was blocked, 3 stopped by the budget, 130 interrupted.
        counts: State -> number of nodes: ``done`` (built now), ``cached``, ``failed``, ``blocked``,
            ``waiting`` (left over by an interruption or the budget; configurations not asked for
            count as one each), ``pruned`` (given up by a search).
        failed: Failed nodes with their one-line messages.
        blocked: Nodes that descend from a failed one.
        wall_s: Seconds of the run.
        spent: Which budget ended it, in words; empty: none.
    """

    exit_code: int
    counts: Mapping[str, int]
    failed: tuple[tuple[Node, str], ...] = ()
    blocked: tuple[Node, ...] = ()
    wall_s: float = 0.0
    spent: str = ""
