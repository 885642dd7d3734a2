"""What a sweep cost: hours of its nodes by stage, and of target nodes by method.

Hours are those of each node's last attempt, added up; nodes that ran side by side count each.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.tables.table import Table, TableCell, left, plain_table, right

_ORDER = ("source", "harvest", "prior", "target")


@dataclass(frozen=True)
class Cost:
    """Nodes of one kind.

    Attributes:
        name: Stage, or label of a method.
        n_done: Finished nodes.
        n_failed: Failed ones.
        n_other: Running, stopped, pruned or never begun.
        hours: Sum over nodes that know their time.
        median_s: Of one finished node; None where none knows.
    """

    name: str
    n_done: int
    n_failed: int
    n_other: int
    hours: float
    median_s: float | None


def by_stage(evidence: Evidence) -> list[Cost]:
    """A row a stage, in the order of the pipeline, then their sum."""
    stages = sorted(
        {row.stage for row in evidence.rows},
        key=lambda name: (_ORDER.index(name) if name in _ORDER else 9, name),
    )
    rows = [
        _cost(name, ((row.state, row.metrics.get("wall_s")) for row in evidence.rows if row.stage == name))
        for name in stages
    ]
    return [*rows, _cost("all", ((row.state, row.metrics.get("wall_s")) for row in evidence.rows))]


def by_method(evidence: Evidence) -> list[Cost]:
    """A row a method or variant: its target nodes alone, without what they came from."""
    return [
        _cost(
            label,
            (
                (one.state, one.metrics.get("wall_s"))
                for size in evidence.sizes
                for one in evidence.of(name, size)
            ),
        )
        for name, label in evidence.columns.items()
    ]


def cost_table(found: Iterable[Cost], first: str, title: str) -> Table:
    """A row a kind of nodes.

    Args:
        found: From `by_stage` or `by_method`.
        first: Title of the column of names.
        title: Of the table.
    """
    rows: list[list[str | TableCell]] = [
        [
            one.name,
            str(one.n_done),
            TableCell(str(one.n_failed), "bad" if one.n_failed else ""),
            str(one.n_other),
            hours_text(one.hours),
            "-" if one.median_s is None else hours_text(one.median_s / 3600),
        ]
        for one in found
    ]
    columns = (*left(first), *right("done", "failed", "other", "time, added up", "median of one"))
    return plain_table(columns, rows, title)


def hours_text(hours: float) -> str:
    """Hours in the unit that people would say."""
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"


def _cost(name: str, nodes: Iterable[tuple[str, float | None]]) -> Cost:
    nodes = list(nodes)
    states = [state for state, _ in nodes]
    known = [seconds for _, seconds in nodes if seconds is not None]
    done = [seconds for state, seconds in nodes if state == "done" and seconds is not None]
    n_done, n_failed = states.count("done"), states.count("failed")
    return Cost(
        name, n_done, n_failed, len(nodes) - n_done - n_failed, sum(known) / 3600,
        statistics.median(done) if done else None,
    )  # fmt: skip
