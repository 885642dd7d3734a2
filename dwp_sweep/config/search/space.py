"""What a search space says about a search: objectives, sampler, early stopping, and its studies.

Beside the space file, which holds them; `checks` compares them with the experiment. The harness turns them
into suggestions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import Field, field_validator

from dwp_sweep.config.node import Node
from dwp_sweep.config.search.distribution import Distribution, among
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
            and among(values[name], allowed)
            and (name not in self.distributions or self.applies(name, values))
            for name, allowed in self.distributions[key].when.items()
        )

    def configuration(self, given: Mapping[str, Any], pick: Callable[[str], Any]) -> dict[str, Any]:
        """A value for every field that applies, in order.

        Args:
            given: Values of the condition.
            pick: The value of a field; asked only for fields that apply with the values picked before.
        """
        values: dict[str, Any] = {}
        for key in self.distributions:
            if self.applies(key, {**given, **values}):
                values[key] = pick(key)
        return values


class Resolve(Protocol):
    """Turns suggested values into a target node."""

    def __call__(self, values: Mapping[str, Any], place: int) -> Node:
        """The target node of a configuration.

        Args:
            values: Suggested values by dotted key.
            place: Of the condition in the grid.

        Raises:
            InputError: The values do not go together.
        """


def over_axes(objectives: Sequence[ObjectiveConfig]) -> tuple[str, ...]:
    """Axes whose values are repeats of one configuration."""
    return tuple(dict.fromkeys(axis for objective in objectives for axis in objective.over))
