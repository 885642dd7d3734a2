"""The best configuration for each value of some settings: one answer a training size, say.

`best` gives one answer for all of them. The runs are read once for all values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.tables import Table, left, metric_columns, notebook_html, right, short_means, table_row
from dwp_sweep.tracking.client import shown_uri
from dwp_sweep.tracking.mlflow_format import encode, setting_texts
from dwp_sweep.tracking.read.best import Best, best_of, rows_to_rank, usable_pairs
from dwp_sweep.tracking.read.configuration import (
    REPEATS,
    Pair,
    check_metric,
    groups_of,
    natural_order,
    pairs_of,
    ranked,
    require_settings,
    select_rows,
    setting,
    shown_metrics,
)
from dwp_sweep.tracking.read.reader import Kept, open_sweep
from dwp_sweep.tracking.read.runs import parent_facts

N_EACH = 10
"""Of a large sweep so many configurations are compared in the answer of each value."""


@dataclass(frozen=True)
class ConditionBest:
    """The best configuration of one condition.

    Attributes:
        values: Name of a setting -> its value in this condition.
        best: The answer.
    """

    values: dict[str, Any]
    best: Best


@dataclass(frozen=True)
class BestByCondition:
    """Answer of `best_configs`: one `ConditionBest` a condition, in order of their values.

    Attributes:
        sweep: Name of the sweep.
        metric: The validation metric that decided.
        by: Names of the settings.
        conditions: At least one.
        left_out: Conditions without a finished run that has the metric, in words.
    """

    sweep: str
    metric: str
    by: tuple[str, ...]
    conditions: tuple[ConditionBest, ...]
    left_out: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[ConditionBest]:
        return iter(self.conditions)

    def __len__(self) -> int:
        return len(self.conditions)

    @property
    def varied(self) -> tuple[str, ...]:
        """Settings that differ among the candidates of any condition, or between the winners."""
        names = [name for condition in self.conditions for name in condition.best.varied]
        winners = [condition.best.candidates[0].values for condition in self.conditions]
        for name in dict.fromkeys(name for values in winners for name in values if name in names):
            names.append(name)
        return tuple(name for name in dict.fromkeys(names) if name not in self.by)

    def to_json(self) -> str:
        """As JSON text."""
        values = {
            "sweep": self.sweep,
            "metric": self.metric,
            "by": self.by,
            "conditions": [
                {"values": condition.values, "best": condition.best.to_dict()}
                for condition in self.conditions
            ],
            "left_out": self.left_out,
        }
        return json.dumps(values, indent=1, allow_nan=False)

    def _repr_html_(self) -> str:
        return notebook_html(self.tables())

    def tables(self) -> tuple[Table, ...]:
        """One row a condition, then what was left out."""
        winners = [condition.best.candidates[0] for condition in self.conditions]
        metrics = shown_metrics(self.metric, [winner.metrics for winner in winners])
        rows = tuple(
            table_row([
                *setting_texts(condition.values, self.by),
                *setting_texts(winner.values, self.varied),
                *short_means(winner.metrics, metrics),
                str(len(winner.run_ids)),
                str(len(condition.best.candidates)),
            ])
            for condition, winner in zip(self.conditions, winners, strict=True)
        )  # fmt: skip
        columns = (
            *left(*self.by, *self.varied), *metric_columns(metrics), *right("runs", "compared")
        )  # fmt: skip
        title = f"Best of sweep {self.sweep} for each {', '.join(self.by)}"
        notes = (*self._notes(), *(f"left out {text}" for text in self.left_out))
        return (Table(columns, rows, title, f", by mean {self.metric}", notes=notes),)

    def _notes(self) -> list[str]:
        """What all conditions have in common once, else each note under the name of its condition."""
        common = {note for condition in self.conditions for note in condition.best.notes}
        if all(set(condition.best.notes) == common for condition in self.conditions):
            return sorted(common)
        return [
            f"{', '.join(f'{name}={value}' for name, value in condition.values.items())}: {note}"
            for condition in self.conditions
            for note in condition.best.notes
        ]


def best_configs(
    sweep: str,
    by: str | Sequence[str],
    metric: str = "val_dice",
    where: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
    storage: str | Path | None = None,
) -> BestByCondition:
    """The best configuration for each value of some settings.

    Args:
        sweep: Name of the sweep.
        by: Settings, e.g. ``"train_size"`` or ``["method", "train_size"]``; dotted names too.
        metric: As for `best_config`.
        where: As for `best_config`.
        tracking_uri: As for `best_config`.
        storage: As for `best_config`.

    Raises:
        InputError: As for `best_config`; ``by`` names nothing, or what only repeats a configuration.
    """
    names = (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))
    _check_names(names)
    check_metric(metric, ())

    def keep(pairs: list[Pair]) -> Kept:
        require_settings(pairs, names, sweep)
        usable, notes = usable_pairs(pairs, metric, sweep)
        orders = [ranked(groups_of(part), metric) for _, part in _parts(usable, names)]
        kept = [group for order in orders for group in order[:N_EACH]]
        return Kept(kept, sum(map(len, orders)), notes)

    with open_sweep(sweep, tracking_uri, storage) as reader:
        asked = parent_facts(reader.client, sweep).asked
        rows, notes = rows_to_rank(reader, metric, where or {}, keep)
    pairs = select_rows(pairs_of(rows), where or {}, sweep)
    require_settings(pairs, names, sweep)
    conditions: list[ConditionBest] = []
    left_out: list[str] = []
    problems: list[Problem] = []
    for values, part in _parts(pairs, names):
        try:
            best = best_of(sweep, metric, part, rows, notes, shown_uri(reader.uri), asked)
            conditions.append(ConditionBest(values, best))
        except InputError as error:
            problems += error.problems
            left_out.append(", ".join(f"{n}={v}" for n, v in values.items()) + f": {error.problems[0].what}")
    if not conditions:
        raise InputError(problems[:1])
    return BestByCondition(sweep, metric, names, tuple(conditions), tuple(left_out))


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise InputError(Problem("by", "names no setting", "e.g. by='train_size'"))
    repeats = [name for name in names if name in REPEATS]
    if repeats:
        what = f"{' and '.join(repeats)} only repeat a configuration: its mean is taken over them"
        raise InputError(Problem("by", what, "use where, e.g. split=0, to look at one of them"))


def _parts(pairs: Sequence[Pair], names: Sequence[str]) -> list[tuple[dict[str, Any], list[Pair]]]:
    """Runs by the values of the settings, in order; runs without one of the settings are left out."""
    parts: dict[str, tuple[dict[str, Any], list[Pair]]] = {}
    for pair in pairs:
        values = {name: setting(pair, name) for name in names}
        if all(value is not None for value in values.values()):
            parts.setdefault(encode(list(values.values())), (values, []))[1].append(pair)
    return sorted(parts.values(), key=lambda part: [natural_order(value) for value in part[0].values()])
