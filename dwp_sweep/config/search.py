"""What a search space says about a search: distributions, objectives, sampler, early stopping, budget.

Beside the space file, which holds them; `search_checks` compares them with the experiment. Knows nothing
of Optuna: the harness turns these into suggestions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dwp_sweep.strict import StrictModel

OBJECTIVES: Mapping[str, Literal["max", "min"]] = {
    "val_dice": "max",
    "val_iou": "max",
    "val_loss": "min",
    "n_steps": "min",
    "wall_s": "min",
    "hours": "min",
    "cpu_hours": "min",
    "gpu_hours": "min",
}
"""What may be searched for, and which way is better. Test scores judge, they do not choose."""

_KINDS = ("int", "float", "choice")
_SHAPES = "{int: [low, high]}, {float: [low, high]} or {choice: [...]}"
_WALL = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)\s*$")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Distribution(StrictModel):
    """What one field may be: ``{int: [2, 16]}``, ``{float: [1e-6, 1e-2], log: true}``, ``{choice: [a, b]}``.

    Attributes:
        kind: ``int``, ``float`` or ``choice``.
        low: Smallest value of a number.
        high: Largest value of a number, included.
        step: Distance between neighbouring values; None: 1 for whole numbers, none for others.
        log: Even on a logarithmic scale.
        choices: Values of a choice; each a plain number, text, truth value or null, or a list of such.
        when: Dotted key -> the values with which the field applies; all of them must hold.
    """

    kind: Literal["int", "float", "choice"]
    low: float | int | None = None
    high: float | int | None = None
    step: float | int | None = Field(None, gt=0)
    log: bool = False
    choices: tuple[Any, ...] = ()
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            raise ValueError(f"should be {_SHAPES}")
        named = [kind for kind in _KINDS if kind in values]
        if not named and values.get("kind") in _KINDS:
            when = _when(values) if values.get("when") else {}
            return {**values, "choices": tuple(values.get("choices", ()))} | when
        if len(named) != 1:
            raise ValueError(f"should be {_SHAPES}; keys are dotted, e.g. prior.latent_dim")
        kind = named[0]
        rest = {name: value for name, value in values.items() if name != kind}
        return {**rest, "kind": kind, **_range(kind, values[kind])} | _when(rest)

    @model_validator(mode="after")
    def _has_values(self) -> Distribution:
        if self.kind == "choice":
            if self.step is not None or self.log:
                raise ValueError("a choice has neither step nor log")
            if len({repr(value) for value in self.choices}) < 2:
                raise ValueError("a choice needs at least two different values")
            return self
        assert self.low is not None and self.high is not None
        if self.low >= self.high:
            raise ValueError(f"the range is empty: low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true needs a positive range, and low is {self.low:g}")
        return self._with_fitting_step()

    def _with_fitting_step(self) -> Distribution:
        if self.step is None:
            return self
        if self.log:
            raise ValueError("step and log: true exclude each other")
        if self.kind == "int" and self.step != int(self.step):
            raise ValueError(f"step {self.step:g} is no whole number")
        assert self.low is not None and self.high is not None
        if self.step > self.high - self.low:
            raise ValueError(f"step {self.step:g} is larger than the range: only {self.low:g} is left")
        return self

    @property
    def probes(self) -> tuple[Any, ...]:
        """Values that stand for all others where one asks whether the experiment takes them."""
        return self.choices if self.kind == "choice" else (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether a value may be suggested."""
        if self.kind == "choice":
            return any(same_value(value, one) for one in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None and self.high is not None
        if not self.low <= value <= self.high or (self.kind == "int" and value != int(value)):
            return False
        # In decimals, as suggestions are: three times 0.1 is 0.3.
        return self.step is None or (_decimal(value) - _decimal(self.low)) % _decimal(self.step) == 0


class ObjectiveConfig(StrictModel):
    """What a search makes better.

    Attributes:
        metric: Of the target networks, a name of `OBJECTIVES`; ``val_dice`` is that of the best epoch.
            ``hours`` is the target networks' time, ``gpu_hours`` and ``cpu_hours`` times their share of GPU
            or CPUs.
        over: Axes of the grid over whose values the metric is averaged, e.g. ``split``.
    """

    metric: str = "val_dice"
    over: tuple[str, ...] = ()

    @field_validator("metric")
    @classmethod
    def _reported(cls, value: str) -> str:
        name = value.removeprefix("best_")
        if name.startswith("test_"):
            raise ValueError(
                "test scores judge and must not choose; search for val_dice, val_iou or val_loss"
            )
        if name not in OBJECTIVES:
            raise ValueError("no stage reports it; objectives are " + ", ".join(OBJECTIVES))
        return name

    @field_validator("over", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    @property
    def mode(self) -> Literal["max", "min"]:
        """Which way is better."""
        return OBJECTIVES[self.metric]

    @property
    def epoch_metric(self) -> str | None:
        """Its name among the metrics of an epoch; None where only a finished node has it."""
        return self.metric if self.metric.startswith("val_") else None


class SearcherConfig(StrictModel):
    """How values are suggested.

    Attributes:
        kind: ``tpe``, ``random``, ``gp`` (Gaussian process) or ``nsga2`` (genetic, for several objectives).
        n_trials: Configurations of each study, that is of each condition of the grid.
        seed: Of the sampler.
        storage: Optuna's database URL; None: a SQLite file in the sweep's folder.
    """

    kind: Literal["tpe", "random", "gp", "nsga2"] = "tpe"
    n_trials: int = Field(20, ge=1)
    seed: int = Field(0, ge=0)
    storage: str | None = None


class SchedulerConfig(StrictModel):
    """When a target network is given up before its last epoch. Upstream stages are never given up.

    Attributes:
        kind: ``asha``, ``median`` or ``none``; None: ``asha`` for one objective that epochs report.
        grace_epochs: Epochs that every network gets.
        reduction_factor: ASHA: one of so many goes on from each rung.
        min_configurations: Median stopping: with how many others a network must have been compared; also how
            many configurations must have ended before one is given up between its repeats.
    """

    kind: Literal["asha", "median", "none"] | None = None
    grace_epochs: int = Field(3, ge=1)
    reduction_factor: float = Field(3.0, gt=1)
    min_configurations: int = Field(3, ge=1)


class BudgetConfig(StrictModel):
    """When nothing new is started any more; None: no limit.

    Attributes:
        gpu_hours: Of all nodes of the run together.
        cpu_hours: Of all nodes of the run together.
        wall: Time on the clock with its unit: ``90s``, ``20m``, ``2h``, ``1d``.
        trials: Configurations of all studies together; target networks where nothing is searched for.
    """

    gpu_hours: float | None = Field(None, ge=0)
    cpu_hours: float | None = Field(None, ge=0)
    wall: str | None = None
    trials: int | None = Field(None, ge=0)

    @field_validator("wall", mode="before")
    @classmethod
    def _has_a_unit(cls, value: Any) -> Any:
        if value is None or (isinstance(value, str) and _WALL.match(value)):
            return value
        raise ValueError("should be a time with its unit: 90s, 20m, 2h or 1d")

    @property
    def wall_s(self) -> float | None:
        """`wall` in seconds."""
        found = _WALL.match(self.wall or "")
        return float(found[1]) * _SECONDS[found[2]] if found else None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return any(value is not None for value in (self.gpu_hours, self.cpu_hours, self.wall, self.trials))


@dataclass(frozen=True)
class SearchCondition:
    """One condition of the grid: one study.

    Attributes:
        name: ``train_size=5, method=fine_tune``; ``all`` where the grid has no axis but the repeats.
        members: Places of its experiments among the space's conditions, one for each repeat.
        values: What the grid and the fixed part give, by dotted key: decides which ``when:`` hold.
    """

    name: str
    members: tuple[int, ...]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class SearchSpace:
    """A validated search.

    Attributes:
        distributions: By dotted key; a key comes after those that its ``when`` names.
        objectives: One or several.
        searcher: How values are suggested, and how many configurations.
        scheduler: Early stopping; its kind is never None.
        conditions: The studies.
    """

    distributions: Mapping[str, Distribution]
    objectives: tuple[ObjectiveConfig, ...]
    searcher: SearcherConfig
    scheduler: SchedulerConfig
    conditions: tuple[SearchCondition, ...] = ()

    @property
    def over(self) -> tuple[str, ...]:
        """Axes whose values are repeats of one configuration."""
        return over_axes(self.objectives)

    def applies(self, key: str, values: Mapping[str, Any]) -> bool:
        """Whether a field is searched, given the values of the condition and of fields before it.

        A field that itself does not apply fulfils no ``when``, whatever value it has in the condition.
        """
        return all(
            name in values
            and _among(values[name], allowed)
            and (name not in self.distributions or self.applies(name, values))
            for name, allowed in self.distributions[key].when.items()
        )


def over_axes(objectives: Sequence[ObjectiveConfig]) -> tuple[str, ...]:
    """Axes whose values are repeats of one configuration."""
    return tuple(dict.fromkeys(axis for objective in objectives for axis in objective.over))


def same_value(one: Any, other: Any) -> bool:
    """Equal as YAML values: ``true`` is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _among(value: Any, allowed: Sequence[Any]) -> bool:
    return any(same_value(value, one) for one in allowed)


def _range(kind: str, values: Any) -> dict[str, Any]:
    if kind == "choice":
        if not isinstance(values, list | tuple) or not values:
            raise ValueError("choice should be a list of values")
        return {"choices": tuple(values)}
    number = int if kind == "int" else int | float
    is_range = isinstance(values, list | tuple) and len(values) == 2
    if not is_range or not all(isinstance(v, number) and not isinstance(v, bool) for v in values):
        what = "two whole numbers" if kind == "int" else "two numbers"
        raise ValueError(f"{kind} should be [low, high], {what}")
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{kind} should be [low, high], both finite")
    convert = int if kind == "int" else float
    return {"low": convert(values[0]), "high": convert(values[1])}


def _when(rest: Mapping[str, Any]) -> dict[str, Any]:
    if rest.get("when") is None:
        return {}
    if not isinstance(rest["when"], Mapping) or not rest["when"]:
        raise ValueError("when should map fields to values, e.g. when: {method: deep_weight_prior}")
    return {
        "when": {
            str(key): tuple(v) if isinstance(v, list | tuple) else (v,) for key, v in rest["when"].items()
        }
    }
