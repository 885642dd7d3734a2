"""How the networks of a sweep came about: what they cost, their settings, and the commands to repeat it.

Hours are those of each node's last attempt, added up; nodes that ran side by side count each. Settings are
read from the resolved configuration behind each cell, upstream stages included. Where a method's cells
differ among themselves (a search chose per size) all values are named.
"""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Iterable
from typing import Any

from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.tables import Table, TableCell, left, plain_table, right
from dwp_sweep.tracking.read.configuration import changes_results, configurations

_ORDER = ("source", "harvest", "prior", "target")
_HIDDEN = {"train_size", "variant", "group"}
_Nodes = Iterable[tuple[str, float | None]]
"""(State, seconds of the last attempt) of each node; None where no time is known."""


def cost_by_stage(evidence: Evidence) -> Table:
    """A row a stage, in the order of the pipeline, then their sum."""
    stages = sorted(
        {row.stage for row in evidence.rows},
        key=lambda name: (_ORDER.index(name) if name in _ORDER else 9, name),
    )
    nodes = [(row.stage, (row.state, row.metrics.get("wall_s"))) for row in evidence.rows]
    rows = [_cost(name, (node for stage, node in nodes if stage == name)) for name in stages]
    return _cost_table("Stage", [*rows, _cost("all", (node for _, node in nodes))], "By stage")


def cost_by_method(evidence: Evidence) -> Table:
    """A row a method or variant: its target nodes alone, without what they came from."""
    rows = []
    for name, label in evidence.columns.items():
        targets = (target for size in evidence.sizes for target in evidence.of(name, size))
        rows.append(_cost(label, ((target.state, target.metrics.get("wall_s")) for target in targets)))
    return _cost_table("Target networks of", rows, "By method, without what its networks came from")


def settings_tables(evidence: Evidence) -> tuple[Table, Table]:
    """(Settings that differ, by method; settings that all methods share that have them)."""
    values = _settings(evidence)
    # A setting that only some methods have follows from the method; it is named only where values differ.
    names = sorted({name for settings in values.values() for name in settings})
    differing, shared = [], []
    for name in names:
        texts = ["; ".join(values[column].get(name, ())) for column in evidence.columns]
        different = {text for text in texts if text}
        if len(different) > 1 or name == "method":
            differing.append([name, *(text or "-" for text in texts)])
        elif different:
            shared.append([name, different.pop()])
    columns = left("setting", *evidence.columns.values())
    title = "What differs between the methods"
    return plain_table(columns, differing, title), plain_table(left("setting", "value"), shared)


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


def _cost_table(first: str, rows: list[list[str | TableCell]], title: str) -> Table:
    columns = (*left(first), *right("done", "failed", "other", "time, added up", "median of one"))
    return plain_table(columns, rows, title)


def _cost(name: str, nodes: _Nodes) -> list[str | TableCell]:
    nodes = list(nodes)
    states = [state for state, _ in nodes]
    n_done, n_failed = states.count("done"), states.count("failed")
    known = [seconds for _, seconds in nodes if seconds is not None]
    done = [seconds for state, seconds in nodes if state == "done" and seconds is not None]
    return [
        name,
        str(n_done),
        TableCell(str(n_failed), "bad" if n_failed else ""),
        str(len(nodes) - n_done - n_failed),
        _hours_text(sum(known) / 3600),
        _hours_text(statistics.median(done) / 3600) if done else "-",
    ]


def _hours_text(hours: float) -> str:
    """Hours in the unit that people would say."""
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"


def _settings(evidence: Evidence) -> dict[str, dict[str, dict[str, None]]]:
    """Method or variant -> setting -> its values as texts, in the order of the cells."""
    begun = [row for row in evidence.rows if row.state != "missing"]
    by_row = configurations(begun)
    known = {(row.key, row.run_id): by_row[place].values for place, row in enumerate(begun)}
    values: dict[str, dict[str, dict[str, None]]] = {name: {} for name in evidence.columns}
    for column, settings in values.items():
        for size in evidence.sizes:
            for target in evidence.chosen(column, size).values():
                for name, value in known.get((target.key, target.run_id), {}).items():
                    if name not in _HIDDEN and changes_results(name):
                        settings.setdefault(name, {})[_text(value)] = None
    return values


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
