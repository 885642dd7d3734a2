"""How the networks of a sweep came about: what they cost, their settings, versions, commands to repeat it.

Hours are those of each node's last attempt, added up; nodes that ran side by side count each. Settings are
read from the resolved configuration behind each cell, upstream stages included. Where a method's cells
differ among themselves (a search chose per size) all values are named.
"""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.tables import Table, TableCell, left, plain_table, right
from dwp_sweep.tracking.read.configuration import changes_results, configurations

_ORDER = ("source", "harvest", "prior", "target")
_Known = Mapping[tuple[str, str], Mapping[str, Any]]
_HIDDEN = {"train_size", "variant", "group"}
_NOT_VERSIONS = ("command", "git_commit")


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


@dataclass(frozen=True)
class SettingsTables:
    """Settings by dotted name.

    Attributes:
        differing: Name -> label of a method -> text; ``-`` where the method has no such setting.
        shared: Name -> text, equal for every method that has it.
    """

    differing: Mapping[str, Mapping[str, str]]
    shared: Mapping[str, str]


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
                (target.state, target.metrics.get("wall_s"))
                for size in evidence.sizes
                for target in evidence.of(name, size)
            ),
        )
        for name, label in evidence.columns.items()
    ]


def cost_table(costs: Iterable[Cost], first: str, title: str) -> Table:
    """A row a kind of nodes.

    Args:
        costs: From `by_stage` or `by_method`.
        first: Title of the column of names.
        title: Of the table.
    """
    rows: list[list[str | TableCell]] = [
        [
            cost.name,
            str(cost.n_done),
            TableCell(str(cost.n_failed), "bad" if cost.n_failed else ""),
            str(cost.n_other),
            hours_text(cost.hours),
            "-" if cost.median_s is None else hours_text(cost.median_s / 3600),
        ]
        for cost in costs
    ]
    columns = (*left(first), *right("done", "failed", "other", "time, added up", "median of one"))
    return plain_table(columns, rows, title)


def hours_text(hours: float) -> str:
    """Hours in the unit that people would say."""
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"


def settings_tables(evidence: Evidence) -> SettingsTables:
    """Compare the configurations behind the cells."""
    known = _configurations(evidence)
    values = {name: _values(evidence, name, known) for name in evidence.columns}
    # A setting that only some methods have follows from the method; it is told only where values differ.
    names = sorted({name for settings in values.values() for name in settings})
    differing: dict[str, dict[str, str]] = {}
    shared: dict[str, str] = {}
    for name in names:
        texts = {column: "; ".join(values[column].get(name, ())) for column in evidence.columns}
        different = {text for text in texts.values() if text}
        if len(different) > 1 or name == "method":
            differing[name] = {evidence.columns[column]: text or "-" for column, text in texts.items()}
        elif different:
            shared[name] = different.pop()
    return SettingsTables(differing, shared)


def versions_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Package -> version, of what the parent run keeps of its environment."""
    return {name: text for name, text in environment.items() if name not in _NOT_VERSIONS}


def commands(evidence: Evidence) -> list[str]:
    """Command lines that go on with the sweep and ask the same again."""
    file = str(evidence.parent.settings.get("file") or "SPACE.yaml")
    typed = evidence.parent.environment.get("command", "")
    name = shlex.quote(evidence.sweep)
    uri = f" --tracking-uri {shlex.quote(evidence.uri)}"
    run = typed if typed.startswith("dwp-sweep") else f"dwp-sweep run {shlex.quote(file)}"
    return [
        f"{run}   # goes on where it stopped; finished work is not repeated",
        f"dwp-sweep report {name} --out DIR{uri}",
        f"dwp-sweep best {name}{uri}",
    ]


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


def _configurations(evidence: Evidence) -> _Known:
    begun = [row for row in evidence.rows if row.state != "missing"]
    found = configurations(begun)
    return {(row.key, row.run_id): found[place].values for place, row in enumerate(begun)}


def _values(evidence: Evidence, column: str, known: _Known) -> dict[str, tuple[str, ...]]:
    texts_by_name: dict[str, dict[str, None]] = {}
    for size in evidence.sizes:
        for target in evidence.chosen(column, size).values():
            for name, value in known.get((target.key, target.run_id), {}).items():
                if name not in _HIDDEN and changes_results(name):
                    texts_by_name.setdefault(name, {})[_text(value)] = None
    return {name: tuple(texts) for name, texts in texts_by_name.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
