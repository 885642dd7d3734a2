"""What averaging several networks gives: each ensemble of a sweep beside its single networks, with the cost.

Read from a table of nodes (`tracking.results`): the ensembles' own scores and those of their members, which
are of the same test scans. The training hours are those of all its networks.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dwp_sweep.tables import Table, left, right, table_row

_SCORES = ("dice", "nll", "ece")
_COLUMNS = (
    *right("m"),
    *left("", "mean over"),
    *right("networks", "Dice: one", "ensemble", "NLL: one", "ensemble", "ECE: one", "ensemble", "hours"),
)
_S_PER_HOUR = 3600.0


def ensemble_table(results: pd.DataFrame) -> Table | None:
    """A row for the ensembles of a method or variant at a training size; None where a sweep has none.

    Args:
        results: From `tracking.results`.
    """
    if "over" not in results:
        return None
    rows = results[results["stage"] == "ensemble"].to_dict("records")
    walls = {str(row["key"]): _number(row.get("wall_s")) for row in results.to_dict("records")}
    groups: dict[tuple[int, str, str], list[Mapping[Any, Any]]] = {}
    for row in rows:
        name = row["variant"] if isinstance(row.get("variant"), str) else _label(str(row["method"]))
        groups.setdefault((int(row["train_size"]), name, str(row["over"])), []).append(row)
    if not groups:
        return None
    lines = [_line(*place, group, walls) for place, group in sorted(groups.items())]
    n_single = sum(row.get("n_members") == 1 for row in rows)
    notes = [
        "one: the mean over the single networks; ensemble: the mean of their probabilities, on the same test "
        "scans; hours: training of all networks of one ensemble. Predicting takes as many passes as networks"
    ]
    if n_single:
        notes.append(f"{n_single} of {len(rows)} ensembles are of one network, and score what it scores")
    title = "Ensembles: the mean of several networks"
    return Table(_COLUMNS, tuple(table_row(line) for line in lines), title, notes=tuple(notes))


def _line(
    size: int, name: str, over: str, group: Sequence[Mapping[Any, Any]], walls: Mapping[str, float | None]
) -> list[str]:
    done = [row for row in group if row["state"] == "done"]
    if not done:
        return [str(size), name, over, str(group[0]["state"]), *["-"] * 7]
    cells = [
        _mean([row.get(f"{prefix}test_{score}") for row in done], 3)
        for score in _SCORES
        for prefix in ("members_", "")
    ]
    hours = [_hours(row, walls) for row in done]
    counts = sorted({int(row["n_members"]) for row in done})
    return [str(size), name, over, " or ".join(map(str, counts)), *cells, _mean(hours, 2)]


def _hours(row: Mapping[Any, Any], walls: Mapping[str, float | None]) -> float | None:
    """Training of all networks; None where one is not known."""
    inputs = row["inputs"] if isinstance(row.get("inputs"), Mapping) else {}
    parts = [walls.get(key) for key in inputs.get("targets", ())]
    known = [part for part in parts if part is not None]
    return sum(known) / _S_PER_HOUR if known and len(known) == len(parts) else None


def _mean(values: Sequence[Any], digits: int) -> str:
    known = [value for value in map(_number, values) if value is not None]
    return f"{statistics.fmean(known):.{digits}f}" if known else "-"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not pd.isna(value) else None


def _label(method: str) -> str:
    from dwp_sweep.methods import METHODS

    return METHODS[method].label if method in METHODS else method
