"""The sections of a search-space file, and the settings of those that say how a sweep runs.

Resources, budget and the settings of a search are part of no node's key; the harness reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dwp_sweep.config.plain_values import flat
from dwp_sweep.config.search.distribution import Distribution
from dwp_sweep.strict import StrictModel

HOUR_S = 3600.0
LOST_RETRIES = 2
"""Retries of a node whose worker was lost, where nothing is said."""

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

_OWN_FIELDS = {"CPU": "cpu", "GPU": "gpu", "memory": "memory"}
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
        memory: GB of main memory (1e9 bytes) that Ray counts for a trial, so that no machine gets more trials
            than its memory holds. None: Ray does not count it.
        accelerator_type: Of the GPU, as Ray names it: ``A100``, ``H100``, ``T4``, ... None: any.
        custom: Name -> amount of resources that the cluster's machines declare, e.g. ``{large_disk: 1}``.
        max_hours: Longest time of one attempt at a node; what takes longer counts as stalled, is killed and
            tried again from its checkpoint. None: no limit.
    """

    cpu: float = Field(1.0, gt=0, le=100_000)
    gpu: float | None = Field(None, ge=0, le=100_000)
    memory: float | None = Field(None, gt=0, le=1e6)
    accelerator_type: str | None = Field(None, pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")
    custom: dict[str, float] = Field(default_factory=dict)
    max_hours: float | None = Field(None, gt=0, le=1e6)

    @field_validator("custom")
    @classmethod
    def _declared(cls, value: dict[str, float]) -> dict[str, float]:
        for name, amount in value.items():
            if name in _OWN_FIELDS:
                raise ValueError(f"names {name}, which is set by resources.STAGE.{_OWN_FIELDS[name]}")
            if not name or name.startswith(("node:", "accelerator_type:")) or name == "object_store_memory":
                raise ValueError(f"names {name!r}, which is Ray's own")
            if not 0 < amount <= 1e9:  # NaN is not in the range either
                raise ValueError(f"asks for {amount:g} of {name}: give a positive number")
        return value

    @model_validator(mode="after")
    def _type_of_a_gpu(self) -> Self:
        if self.accelerator_type is not None and self.gpu == 0:
            raise ValueError("asks for a type of GPU (accelerator_type) and for none (gpu: 0): leave one out")
        return self


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


class RetriesConfig(StrictModel):
    """How often one run tries a node again, by what ended it.

    Attributes:
        lost: Its worker was lost: it was killed, or its machine or the network went away. Losses count that
            follow each other without an epoch between; preemptions that Ray was told of never count. None:
            `max_failures` of the file.
        memory: Its machine ran out of memory.
        gpu_memory: Its GPU did.
        no_gpu: Its machine has a GPU that torch cannot use; another machine may do better.
        stalled: It stood still, or took longer than ``max_hours`` of its stage.
        error: The node itself failed; it would fail again unless chance or the machine decides.
    """

    lost: int | None = Field(None, ge=0, le=1_000)
    memory: int = Field(2, ge=0, le=1_000)
    gpu_memory: int = Field(0, ge=0, le=1_000)
    no_gpu: int = Field(2, ge=0, le=1_000)
    stalled: int = Field(2, ge=0, le=1_000)
    error: int = Field(0, ge=0, le=1_000)


class FailuresConfig(StrictModel):
    """What a run makes of failures.

    Attributes:
        max_failed: So many failed nodes end the run: nothing more starts. None: no limit.
        in_a_row: So many nodes of one stage that fail one after the other end it. None: ten in a search, no
            limit elsewhere.
        per_host: After so many failures of one kind, and no node built there since, a host gets no further
            node while there is another one. None: hosts are never avoided.
        stalled_epochs: A node that reports nothing for so many times the median epoch of its stage has
            stalled: it is killed and tried again from its checkpoint. None: no node counts as stalled.
        stalled_minutes: No silence that is shorter counts as a stall.
        retries: How often a node is tried again.
    """

    max_failed: int | None = Field(None, ge=1)
    in_a_row: int | None = Field(None, ge=1)
    per_host: int | None = Field(3, ge=1)
    stalled_epochs: float | None = Field(20.0, ge=2, le=1e6)
    stalled_minutes: float = Field(60.0, gt=0, le=1e6)
    retries: RetriesConfig = RetriesConfig()


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
        try_first: Points that each study tries before the sampler chooses: searched field -> value. Fields
            that a point leaves open are suggested.
        warm_start: An earlier sweep on the same storage, whose trials the sampler knows from the start. It
            must have searched the same fields for the same objectives; its trials count neither among
            ``n_trials`` nor as the best.
    """

    kind: Literal["tpe", "random", "gp", "nsga2"] = "tpe"
    n_trials: int = Field(20, ge=1, le=100_000)
    seed: int = Field(0, ge=0)
    storage: str | None = None
    try_first: tuple[dict[str, Any], ...] = ()
    warm_start: str | None = Field(None, min_length=1)

    @field_validator("try_first", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not all(isinstance(point, Mapping) for point in value):
            raise ValueError("should be a list of points, e.g. [{prior.latent_dim: 6}]")
        return tuple(flat(point) for point in value)


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


class TrackingConfig(StrictModel):
    """What of a sweep goes to MLflow; everything by default.

    Attributes:
        images: Whether pictures of scans go there, the report's page among them.
        subjects: What stands for subjects and patients: their names, or pseudonyms by a hash with a key that
            lies on the storage. With pseudonyms pictures of scans stay on the storage too, since their titles
            name subjects. With either setting no place of data and no message of an error is logged.
    """

    images: bool = True
    subjects: Literal["name", "pseudonym"] = "name"


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
        tracking: What goes to MLflow.
        resources: Stage -> what one of its trials requests.
        max_failures: How many retries a node gets whose worker was lost.
        failures: What the run makes of failures and stalls.
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
    tracking: TrackingConfig = TrackingConfig()
    resources: dict[str, ResourcesConfig] = Field(default_factory=dict)
    max_failures: int = Field(LOST_RETRIES, ge=0, le=1_000)
    failures: FailuresConfig = FailuresConfig()
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

    @property
    def failure_policy(self) -> FailuresConfig:
        """`failures` with `max_failures` in the place of a number of retries that is not given."""
        retries = self.failures.retries
        lost = self.max_failures if retries.lost is None else retries.lost
        return self.failures.model_copy(update={"retries": retries.model_copy(update={"lost": lost})})

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
