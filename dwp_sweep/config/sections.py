"""The sections of a search-space file, and the settings of those that say how a sweep runs.

Resources, budget and the settings of a search are part of no node's key; the harness reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from dwp_sweep.config.search.distribution import Distribution
from dwp_sweep.strict import StrictModel

HOUR_S = 3600.0

ENSEMBLE_AXES = ("split", "seed", "source.member")
"""Axes over which networks may be averaged: those that repeat a configuration."""

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
"""What a search may optimise, and which way is better. Test scores are reported and never select."""

_OBJECTIVE_SHAPES = "should be {{metric: {}, over: split}}, or a list of such"
_WALL = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)\s*$")
_MAX_WALL_S = 10_000 * 86400.0
_UNIT_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": HOUR_S, "d": 86400.0}


class ResourcesConfig(StrictModel):
    """Logical resources of one trial.

    Attributes:
        cpu: CPU slots; also the number of torch threads (at least 1).
        gpu: GPU slots; fractions share a GPU. None: one where the cluster has GPUs and the stage
            trains a U-Net, a quarter for the kernel VAEs, else none.
    """

    cpu: float = Field(1.0, gt=0, le=100_000)
    gpu: float | None = Field(None, ge=0, le=100_000)


class BudgetConfig(StrictModel):
    """When a run starts no further node; None: no limit.

    Attributes:
        gpu_hours: Of all nodes of the run together.
        cpu_hours: Of all nodes of the run together.
        wall: Time on the clock with its unit: ``90s``, ``20m``, ``2h``, ``1d``; without the start of Ray.
        trials: Configurations of all studies together; target networks where there is no search.
        at_end: What running nodes do when hours or time are spent: ``finish`` lets them go on to their end,
            ``checkpoint`` makes them leave at their checkpoints, and the next run goes on from there.
    """

    gpu_hours: float | None = Field(None, ge=0, le=1e9)
    cpu_hours: float | None = Field(None, ge=0, le=1e9)
    wall: str | None = None
    trials: int | None = Field(None, ge=0)
    at_end: Literal["finish", "checkpoint"] = "finish"

    @field_validator("wall", mode="before")
    @classmethod
    def _has_a_unit(cls, value: Any) -> Any:
        if value is None:
            return value
        if isinstance(value, str) and (match := _WALL.match(value)):
            if float(match[1]) * _UNIT_S[match[2]] > _MAX_WALL_S:
                raise ValueError("is longer than 10000d")
            return value
        raise ValueError("should be a time with its unit: 90s, 20m, 2h or 1d")

    @property
    def wall_s(self) -> float | None:
        """`wall` in seconds."""
        match = _WALL.match(self.wall or "")
        return float(match[1]) * _UNIT_S[match[2]] if match else None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return any(value is not None for value in (self.gpu_hours, self.cpu_hours, self.wall, self.trials))


class ObjectiveConfig(StrictModel):
    """What a search optimises.

    Attributes:
        metric: Of the target networks; ``val_dice`` is that of the best epoch.
            ``hours`` is the target networks' time, ``gpu_hours`` and ``cpu_hours`` times their share of GPU
            or CPUs.
        over: Axes of the grid over whose values the metric is averaged, e.g. ``split``.
    """

    metric: str = Field("val_dice", json_schema_extra={"examples": list(OBJECTIVES)})
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
    n_trials: int = Field(20, ge=1, le=100_000)
    seed: int = Field(0, ge=0)
    storage: str | None = None


class SchedulerConfig(StrictModel):
    """When a target network is stopped before its last epoch. Upstream stages are never stopped.

    Attributes:
        kind: ``asha``, ``median`` or ``none``; None: ``asha`` for one objective that epochs report.
        grace_epochs: Epochs that every network gets. No network is judged by its epochs, or at the
            rungs, before its prior is fully on.
        reduction_factor: ASHA: one of so many continues from each rung.
        min_configurations: Median stopping: with how many others a network is compared before it may be
            stopped; also how many configurations must have ended before one is stopped between its repeats.
    """

    kind: Literal["asha", "median", "none"] | None = None
    grace_epochs: int = Field(3, ge=1)
    reduction_factor: float = Field(3.0, gt=1)
    min_configurations: int = Field(3, ge=1)


class SpaceFile(StrictModel):
    """The top level of a search-space file.

    Attributes:
        name: Of the sweep; the file's stem by default.
        data: ``source`` and ``target``.
        fixed: Values that all conditions share.
        grid: Dotted key -> list of values; ``variant`` -> named bundles of settings.
        search: Dotted key -> distribution; one study for each condition of the grid.
        searcher: How values are suggested, and how many configurations.
        objective: What the search optimises: one mapping, or a list of them.
        scheduler: When a target network is stopped early.
        ensemble: Axes of the grid (split, seed, source.member): the mean of their networks is scored as well,
            in a node of its own.
        budget: When the run starts no further node.
        resources: Stage -> what one of its trials requests.
        max_failures: How many retries a node gets whose worker was lost.
        smoke: Changes to all of the above for a quick look.
    """

    name: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Distribution] = Field(default_factory=dict)
    searcher: SearcherConfig = SearcherConfig()
    objective: tuple[ObjectiveConfig, ...] = ()
    scheduler: SchedulerConfig = SchedulerConfig()
    ensemble: tuple[str, ...] = ()
    budget: BudgetConfig = BudgetConfig()
    resources: dict[str, ResourcesConfig] = Field(default_factory=dict)
    max_failures: int = Field(2, ge=0, le=1_000)
    smoke: dict[str, Any] = Field(default_factory=dict)

    @field_validator("ensemble", mode="before")
    @classmethod
    def _axes(cls, value: Any) -> Any:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not all(isinstance(axis, str) for axis in values):
            raise ValueError(f"should be an axis or a list of axes: {', '.join(ENSEMBLE_AXES)}")
        for axis in values:
            if axis not in ENSEMBLE_AXES:
                raise ValueError(f"{axis!r} repeats no configuration; axes are {', '.join(ENSEMBLE_AXES)}")
        return tuple(dict.fromkeys(values))

    @field_validator("objective", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        values = [value] if isinstance(value, Mapping) else value
        if not isinstance(values, list | tuple):
            raise ValueError(_OBJECTIVE_SHAPES.format(values if isinstance(values, str) else "val_dice"))
        for metric in values:
            if isinstance(metric, str):
                raise ValueError(_OBJECTIVE_SHAPES.format(metric))
        return tuple(values)

    @field_validator("objective")
    @classmethod
    def _different(cls, value: tuple[ObjectiveConfig, ...]) -> tuple[ObjectiveConfig, ...]:
        metrics = [objective.metric for objective in value]
        for metric in metrics:
            if metrics.count(metric) > 1:
                raise ValueError(f"names {metric} more than once; keep one of them")
        return value
