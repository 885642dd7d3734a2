"""How the shown networks came about: settings that differ or are shared, versions, commands to do it again.

Read from the resolved configuration behind each cell, upstream stages included. Where a method's cells
differ among themselves (a search chose per size) all values are named.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.tracking.read.configuration import changes_results, configurations

_Known = Mapping[tuple[str, str], Mapping[str, Any]]
_HIDDEN = {"train_size", "variant", "group"}
_NOT_VERSIONS = ("command", "git_commit")


@dataclass(frozen=True)
class SettingsTables:
    """Settings by dotted name.

    Attributes:
        differing: Name -> label of a method -> text; ``-`` where the method has no such setting.
        shared: Name -> text, equal for every method that has it.
    """

    differing: Mapping[str, Mapping[str, str]]
    shared: Mapping[str, str]


def settings_tables(evidence: Evidence) -> SettingsTables:
    """Compare the configurations behind the cells."""
    known = _configurations(evidence)
    values = {name: _values(evidence, name, known) for name in evidence.columns}
    # A setting that only some methods have follows from the method; it is told only where values differ.
    names = sorted({name for found in values.values() for name in found})
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


def _values(evidence: Evidence, column: str, known: _Known) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for size in evidence.sizes:
        for target in evidence.chosen(column, size).values():
            for name, value in known.get((target.key, target.run_id), {}).items():
                if name not in _HIDDEN and changes_results(name):
                    found.setdefault(name, {})[_text(value)] = None
    return {name: tuple(texts) for name, texts in found.items()}


def _configurations(evidence: Evidence) -> _Known:
    begun = [row for row in evidence.rows if row.state != "missing"]
    found = configurations(begun)
    return {(row.key, row.run_id): found[place].values for place, row in enumerate(begun)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
