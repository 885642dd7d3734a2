"""What a search has tried, as plain rows: parameters, results, learning curves and importances.

The harness reads them from Optuna, the reports draw them, and as ``trials.json`` they stand with the sweep's
folder and its parent run, so that a remote client can draw them again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dwp_sweep.store.record import UNREADABLE
from dwp_sweep.strict import json_of

Mode = Literal["max", "min"]


@dataclass(frozen=True)
class Parameter:
    """A field that was searched.

    Attributes:
        name: Dotted key.
        low: Smallest value of a number; None for a choice.
        high: Largest value of a number; None for a choice.
        is_log: Even on a logarithmic scale.
        choices: Of a choice, as text; empty for a number.
    """

    name: str
    low: float | None = None
    high: float | None = None
    is_log: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Goal:
    """An objective: its metric and which way is better."""

    metric: str
    mode: Mode

    @property
    def sign(self) -> float:
        """Times a value: larger is better."""
        return 1.0 if self.mode == "max" else -1.0


@dataclass(frozen=True)
class TrialRow:
    """One configuration of a study.

    Attributes:
        condition: Of the grid: the study that it belongs to.
        number: In its study.
        state: ``complete``, ``pruned``, ``failed`` or ``open``.
        values: By dotted key; fields that do not apply are missing.
        results: Of a complete one, one for each objective.
        reached: Of a pruned one with one objective: its value when it was given up.
        curves: One a network that was begun: (epoch, metric of the curves), from epoch 1.
        keys: Of its target nodes.
        reason: Why it was pruned or failed.
    """

    condition: str
    number: int
    state: str
    values: Mapping[str, Any]
    results: tuple[float, ...] = ()
    reached: float | None = None
    curves: tuple[tuple[tuple[int, float], ...], ...] = ()
    keys: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class SearchTrials:
    """All configurations of a search.

    Attributes:
        sweep: Its name.
        goals: One or several.
        curve: Metric of the learning curves.
        parameters: In the order of the search space.
        conditions: Names of the studies.
        trials: In the order of condition and number.
    """

    sweep: str
    goals: tuple[Goal, ...]
    curve: str
    parameters: tuple[Parameter, ...]
    conditions: tuple[str, ...]
    trials: tuple[TrialRow, ...]

    def of(self, condition: str, *states: str) -> list[TrialRow]:
        """The configurations of a condition, in some states or in all."""
        return [
            row for row in self.trials if row.condition == condition and (not states or row.state in states)
        ]

    def counts(self, condition: str | None = None) -> dict[str, int]:
        """Configurations by state, of a condition or of all."""
        states = [row.state for row in self.trials if condition in (None, row.condition)]
        return {state: states.count(state) for state in ("complete", "pruned", "failed", "open")}

    def best(self, condition: str, goal: int = 0) -> TrialRow | None:
        """The complete configuration with the best result, the earliest of equal ones."""
        complete = [row for row in self.of(condition, "complete") if math.isfinite(row.results[goal])]
        sign = self.goals[goal].sign
        return max(complete, key=lambda row: sign * row.results[goal], default=None)

    def is_whole(self, name: str) -> bool:
        """Whether a parameter's values are whole numbers."""
        return all(isinstance(row.values.get(name, 0), int) for row in self.trials)

    def to_json(self) -> str:
        """As JSON text; `trials_from_json` reads it."""
        return json.dumps(_named(asdict(self)), indent=1, default=str, allow_nan=False)


@dataclass(frozen=True)
class Importance:
    """How much each parameter mattered for one objective in one condition.

    Attributes:
        condition: Of the grid.
        metric: The objective.
        shares: Parameter -> share of 1, the largest first; empty where there were too few configurations.
        n_complete: Configurations that were measured to their end.
        n_pruned: Configurations that were given up.
        note: What a reader must know: too few configurations, or how rough the shares are.
    """

    condition: str
    metric: str
    shares: Mapping[str, float]
    n_complete: int
    n_pruned: int
    note: str = ""


def counted(counts: Mapping[str, int]) -> list[str]:
    """``["5 complete", "6 pruned"]``: `SearchTrials.counts` in words, states without any left out."""
    return [f"{n} {state}" for state in ("complete", "pruned", "failed", "open") if (n := counts.get(state))]


def trials_from_json(text: str) -> SearchTrials:
    """Read what `SearchTrials.to_json` wrote.

    Raises:
        ValueError: The text is something else.
    """
    try:
        values = json_of(text)
        return SearchTrials(
            sweep=str(values["sweep"]),
            goals=tuple(Goal(**goal) for goal in values["goals"]),
            curve=str(values["curve"]),
            parameters=tuple(
                Parameter(**{**parameter, "choices": tuple(parameter["choices"])})
                for parameter in values["parameters"]
            ),
            conditions=tuple(values["conditions"]),
            trials=tuple(_row(trial) for trial in values["trials"]),
        )
    except UNREADABLE as error:
        raise ValueError(f"these are no trials of a search: {error}") from error


def importance_as_json(importances: tuple[Importance, ...]) -> str:
    """Importances for programs."""
    return json.dumps([asdict(importance) for importance in importances], indent=1)


def importances_from_json(text: str) -> tuple[Importance, ...]:
    """Read what `importance_as_json` wrote.

    Raises:
        ValueError: The text is something else.
    """
    try:
        return tuple(Importance(**values) for values in json_of(text))
    except UNREADABLE as error:
        raise ValueError(f"these are no importances: {error}") from error


def _row(values: Mapping[str, Any]) -> TrialRow:
    curves = tuple(tuple((int(e), float(v)) for e, v in curve) for curve in values["curves"])
    results = tuple(float(value) for value in values["results"])
    reached = None if values["reached"] is None else float(values["reached"])
    changed = {"curves": curves, "results": results, "reached": reached, "keys": tuple(values["keys"])}
    return TrialRow(**{**values, **changed})


def _named(value: Any) -> Any:
    """Strict JSON has no NaN: such numbers stand as text, which `float` reads."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list | tuple) else value
