"""All sweeps of a storage at a glance: how each stands, how far it is, its best score, its age, its size.

Reads the storage alone, as `sweep_status` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dwp_sweep.harness.view.status import SweepStatus, sweep_status
from dwp_sweep.harness.view.text import duration
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import is_recorded
from dwp_sweep.tables import Table, left, notebook_html, right, table_row

_BEST = ("best_val_dice", "val_dice")
SweepState = Literal["running", "done", "failed", "open", "unknown"]
"""``open``: something is left to build, and nobody builds it; ``unknown``: of a version without records."""


@dataclass(frozen=True)
class SweepRow:
    """One sweep.

    Attributes:
        name: Its name.
        state: How it stands.
        n_done: Nodes that are done.
        n_nodes: All its nodes that are needed.
        n_failed: Nodes that failed.
        best_val_dice: Of its target networks the best score on validation scans; None before the first.
        age_s: Seconds since its folder was last written to.
        n_bytes: Of all its nodes, those that it shares with other sweeps included.
    """

    name: str
    state: SweepState
    n_done: int = 0
    n_nodes: int = 0
    n_failed: int = 0
    best_val_dice: float | None = None
    age_s: float = 0.0
    n_bytes: int = 0


@dataclass(frozen=True)
class SweepList:
    """All sweeps of a storage, the latest first."""

    place: str
    sweeps: tuple[SweepRow, ...]

    def __repr__(self) -> str:
        """One line."""
        return f"SweepList({self.place!r}, {[row.name for row in self.sweeps]})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return notebook_html(self.tables())

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain values, ready for JSON."""
        return [asdict(row) for row in self.sweeps]

    def tables(self) -> tuple[Table, ...]:
        """One line a sweep."""
        rows = [
            table_row([
                row.name,
                row.state,
                f"{row.n_done}/{row.n_nodes}" + (f", {row.n_failed} failed" if row.n_failed else ""),
                "-" if row.best_val_dice is None else f"{row.best_val_dice:.3f}",
                duration(row.age_s),
                size_text(row.n_bytes),
            ])
            for row in self.sweeps
        ]  # fmt: skip
        columns = (*left("sweep", "state"), *right("nodes", "best val_dice", "age", "size"))
        notes = () if rows else (f"no sweep on {self.place}",)
        return (Table(columns, tuple(rows), notes=notes),)


def list_sweeps(store: Store) -> SweepList:
    """How every sweep of a storage stands."""
    sizes: Counter[str] = Counter()
    ages: dict[str, float] = {}
    for item in store.inventory():
        if len(item.parts) < 2:
            continue
        sizes[item.parts[1]] += item.n_bytes
        if item.parts[0] == "sweeps":
            ages[item.parts[1]] = min(item.age_s, ages.get(item.parts[1], item.age_s))
    rows = [_row(name, store, sizes, ages.get(name, 0.0)) for name in store.sweeps()]
    return SweepList(store.place, tuple(sorted(rows, key=lambda row: (row.age_s, row.name))))


def size_text(n_bytes: int) -> str:
    """Bytes for people: ``0.4 MB``, ``12 MB``, ``3.1 GB``."""
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:.1f} GB"
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes < 9.95e6 else f"{n_bytes / 1e6:.0f} MB"


def _row(name: str, store: Store, sizes: Counter[str], age_s: float) -> SweepRow:
    if not is_recorded(store, name):
        return SweepRow(name, "unknown", age_s=age_s)
    status = sweep_status(name, store)
    needed = [node for node in status.nodes if node.state != "unneeded"]
    scores = [
        score
        for node in needed
        if node.stage == "target" and node.state == "done"
        for score in [next((node.metrics[metric] for metric in _BEST if metric in node.metrics), None)]
        if score is not None
    ]
    return SweepRow(
        name=name,
        state=_state(status, [node.state for node in needed]),
        n_done=sum(node.state == "done" for node in needed),
        n_nodes=len(needed),
        n_failed=sum(node.state == "failed" for node in needed),
        best_val_dice=max(scores, default=None),
        age_s=age_s,
        n_bytes=sum(sizes[node.key] for node in status.nodes),
    )


def _state(status: SweepStatus, states: Sequence[str]) -> SweepState:
    if status.runs:
        return "running"
    if "failed" in states:
        return "failed"
    return "done" if all(state in ("done", "pruned") for state in states) else "open"
