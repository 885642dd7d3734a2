"""The Pareto front of a sweep with several objectives.

Objectives are validation metrics and what networks cost; a test metric is refused, as everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dwp_sweep.config.sections import HOUR_S, OBJECTIVES
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.tables import (
    Stat,
    Table,
    left,
    mean,
    metric_columns,
    notebook_html,
    right,
    short_means,
    stat,
    table_row,
)
from dwp_sweep.tracking.client import shown_uri
from dwp_sweep.tracking.mlflow_format import setting_texts
from dwp_sweep.tracking.read.configuration import (
    Pair,
    candidate_of,
    check_metric,
    groups_of,
    lower_is_better,
    pairs_of,
    select_rows,
    varied_of,
)
from dwp_sweep.tracking.read.reader import Kept, open_sweep
from dwp_sweep.tracking.read.rows import NodeRow
from dwp_sweep.tracking.read.runs import ParentFacts, parent_facts
from dwp_sweep.tracking.read.trials import Goal

_HOURS = ("hours", "cpu_hours", "gpu_hours")


@dataclass(frozen=True)
class FrontPoint:
    """A configuration that no other one beats in every objective.

    Attributes:
        values: Its settings by dotted name.
        metrics: Name -> mean, std, n over splits and seeds, the objectives among them.
        run_ids: One a split and seed.
        is_knee: Nearest to the best of every objective at once, in shares of the front's ranges.
    """

    values: dict[str, Any]
    metrics: dict[str, Stat]
    run_ids: tuple[str, ...]
    is_knee: bool = False


@dataclass(frozen=True)
class Front:
    """Answer of `pareto_front`.

    Attributes:
        sweep: Name of the sweep.
        goals: The objectives with their directions.
        points: The best in the first objective first.
        varied: Dotted names of the settings with more than one value on the front.
        n_compared: Configurations that were compared.
        notes: What a reader should know.
        tracking_uri: Where this was read, passwords hidden.
    """

    sweep: str
    goals: tuple[Goal, ...]
    points: tuple[FrontPoint, ...]
    varied: tuple[str, ...]
    n_compared: int
    notes: tuple[str, ...]
    tracking_uri: str

    @property
    def objectives(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(goal.metric for goal in self.goals)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return values

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def _repr_html_(self) -> str:
        return notebook_html(self.tables())

    def tables(self) -> tuple[Table, ...]:
        """One row a point, the knee bold and its runs below."""
        rows = tuple(
            table_row(
                [
                    str(place),
                    *setting_texts(point.values, self.varied),
                    *short_means(point.metrics, self.objectives),
                    str(len(point.run_ids)),
                    "knee" if point.is_knee else "",
                ],
                "strong" if point.is_knee else "",
            )
            for place, point in enumerate(self.points, start=1)
        )
        knee = next((point for point in self.points if point.is_knee), None)
        lines = [
            "knee: nearest to the best of every objective at once, in shares of the front's ranges",
            *(f"run {run_id}" for run_id in knee.run_ids),
        ] if knee is not None else []  # fmt: skip
        goals = ", ".join(
            f"{goal.metric} ({'more' if goal.mode == 'max' else 'less'} is better)" for goal in self.goals
        )
        subtitle = (
            f": {len(self.points)} of {self.n_compared} configurations, none of them beaten in all of {goals}"
        )
        columns = (
            *right("#"), *left(*self.varied), *metric_columns(self.objectives), *right("runs"), *left("")
        )  # fmt: skip
        title = f"Pareto front of sweep {self.sweep}"
        return (Table(columns, rows, title, subtitle, table_row(lines), self.notes),)


def pareto_front(
    sweep: str,
    objectives: Sequence[str] = (),
    where: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
    storage: str | Path | None = None,
) -> Front:
    """The configurations that no other one beats in every objective, by their means over splits and seeds.

    Args:
        sweep: Name of the sweep.
        objectives: Validation metrics and costs (``gpu_hours``, ``cpu_hours``, ``hours``, ``wall_s``,
            ``n_steps``); none: those that the sweep searched for.
        where: As for `best_config`.
        tracking_uri: As for `best_config`.
        storage: As for `best_config`.

    Raises:
        InputError: Unknown sweep or setting, a test metric, fewer than two objectives, nothing finished.
    """
    for name in objectives:
        if name.removeprefix("best_") not in OBJECTIVES:
            check_metric(name, ())
    with open_sweep(sweep, tracking_uri, storage) as reader:
        facts = parent_facts(reader.client, sweep)
        goals = _goals(sweep, objectives or facts.objectives)

        def keep(pairs: list[Pair]) -> Kept:
            return _on_front(pairs, goals, facts, sweep)

        metrics = tuple(dict.fromkeys(_stored(goal.metric) for goal in goals))
        short = reader.shortlist(metrics, where or {}, keep)
        rows = reader.rows() if short is None else short.rows
    kept = keep(select_rows(pairs_of(rows), where or {}, sweep))
    compared = kept if short is None else short.kept
    points = [_point(group, goals, facts) for group in kept.groups]
    means = [[point.metrics[goal.metric].mean for goal in goals] for point in points]
    knee = knee_of(means, [goal.sign for goal in goals])
    return Front(
        sweep=sweep,
        goals=goals,
        points=tuple(replace(point, is_knee=place == knee) for place, point in enumerate(points)),
        varied=varied_of([point.values for point in points], facts.asked),
        n_compared=compared.n_compared,
        notes=(*compared.notes, *_notes_on_hours(goals, facts)),
        tracking_uri=shown_uri(reader.uri),
    )


def _goals(sweep: str, names: Sequence[str]) -> tuple[Goal, ...]:
    plain = tuple(dict.fromkeys(name.removeprefix("best_") for name in names))
    if len(plain) < 2:
        what = (
            f"a front needs two objectives; {plain[0]} is one" if plain else "has searched for no objectives"
        )
        raise InputError(Problem(sweep, what, "name them, e.g. val_dice,gpu_hours"))
    return tuple(
        Goal(name, OBJECTIVES.get(name, "min" if lower_is_better(name) else "max")) for name in plain
    )


def _stored(name: str) -> str:
    return "wall_s" if name in _HOURS else name


def _value(row: NodeRow, name: str, facts: ParentFacts) -> float | None:
    value = row.metric(_stored(name))
    if value is None or name not in _HOURS:
        return value
    # Without GPUs both kinds of hours would be nothing: the CPUs then stand for them.
    share = {"hours": 1.0, "cpu_hours": facts.cpu, "gpu_hours": facts.gpu or facts.cpu}[name]
    return value / HOUR_S * share


def _on_front(pairs: Sequence[Pair], goals: Sequence[Goal], facts: ParentFacts, sweep: str) -> Kept:
    """The configurations on the front, the first objective's best first."""

    def has_all(row: NodeRow) -> bool:
        values = [_value(row, goal.metric, facts) for goal in goals]
        return all(value is not None and math.isfinite(value) for value in values)

    done = [pair for pair in pairs if pair[0].state == "done"]
    usable = [pair for pair in done if has_all(pair[0])]
    if not usable:
        what = f"no finished target run has all of {', '.join(goal.metric for goal in goals)}"
        raise InputError(Problem(sweep, what, "run it first, or name other objectives"))
    groups = groups_of(usable)
    full = max(map(len, groups))
    compared = [group for group in groups if len(group) == full]
    counts = (
        (len(pairs) - len(done), "target run(s) are not finished, failed or were pruned and are left out"),
        (len(done) - len(usable), "finished run(s) lack an objective and are left out"),
        (len(groups) - len(compared), f"configuration(s) have fewer than {full} splits or seeds, left out"),
    )
    notes = tuple(f"{n} {text}" for n, text in counts if n)
    means = [
        [mean([_value(row, goal.metric, facts) or 0.0 for row, _ in group]) for goal in goals]
        for group in compared
    ]
    places = front_of(means, [goal.sign for goal in goals])
    return Kept([compared[place] for place in places], len(compared), notes)


def _point(group: Sequence[Pair], goals: Sequence[Goal], facts: ParentFacts) -> FrontPoint:
    candidate = candidate_of(group)
    own = {}
    for goal in goals:
        values = [value for row, _ in group if (value := _value(row, goal.metric, facts)) is not None]
        own[goal.metric] = stat(values)
    metrics = {name: summary for name, summary in own.items() if summary is not None}
    return FrontPoint(candidate.values, candidate.metrics | metrics, candidate.run_ids)


def _notes_on_hours(goals: Sequence[Goal], facts: ParentFacts) -> tuple[str, ...]:
    names = {goal.metric for goal in goals}
    if names & {"gpu_hours", "cpu_hours"} and not facts.has_shares:
        return ("the sweep's share of CPUs and GPUs is not known yet: hours are counted as of one of each",)
    if "gpu_hours" in names and not facts.gpu:
        return ("no GPU was used: gpu_hours are those of the CPUs",)
    return ()


def front_of(points: Sequence[Sequence[float]], signs: Sequence[float]) -> list[int]:
    """Places of the points that no other one dominates, the first objective's best first.

    One point dominates another that it equals or beats in every objective and beats in one.

    Args:
        points: One value an objective; finite.
        signs: 1 where larger is better, -1 where smaller is.
    """
    gains = [tuple(sign * value for sign, value in zip(signs, point, strict=True)) for point in points]
    order = sorted(range(len(gains)), key=lambda place: gains[place], reverse=True)
    kept: list[int] = []
    for place in order:  # whoever dominates a point comes before it
        if not any(_dominates(gains[other], gains[place]) for other in kept):
            kept.append(place)
    return kept


def knee_of(points: Sequence[Sequence[float]], signs: Sequence[float]) -> int | None:
    """The place on a front that is nearest to the best of every objective at once.

    Distances are in shares of each objective's range on the front. None where fewer than three points
    leave no choice between the ends.

    Args:
        points: All of a front.
        signs: As for `front_of`.
    """
    if len(points) < 3:
        return None
    columns = list(zip(*points, strict=True))
    best = [max(column) if sign > 0 else min(column) for sign, column in zip(signs, columns, strict=True)]
    reach = [max(column) - min(column) or 1.0 for column in columns]

    def distance(point: Sequence[float]) -> float:
        return math.hypot(*((v - top) / width for v, top, width in zip(point, best, reach, strict=True)))

    return min(range(len(points)), key=lambda place: distance(points[place]))


def _dominates(gains: Sequence[float], others: Sequence[float]) -> bool:
    return all(a >= b for a, b in zip(gains, others, strict=True)) and tuple(gains) != tuple(others)
