"""The top level of a search-space file: its own keys, and the sound part of a file with mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, field_validator

from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.config.plain_values import merged
from dwp_sweep.config.search.space import Distribution
from dwp_sweep.config.sections import (
    BudgetConfig,
    ObjectiveConfig,
    ResourcesConfig,
    SchedulerConfig,
    SearcherConfig,
)
from dwp_sweep.config.variants import VARIANT, variant_problems
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.strict import StrictModel, parse

_SHAPES = "should be {{metric: {}, over: split}}, or a list of such"


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
    budget: BudgetConfig = BudgetConfig()
    resources: dict[str, ResourcesConfig] = Field(default_factory=dict)
    max_failures: int = Field(2, ge=0)
    smoke: dict[str, Any] = Field(default_factory=dict)

    @field_validator("objective", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        values = [value] if isinstance(value, Mapping) else value
        if not isinstance(values, list | tuple):
            raise ValueError(_SHAPES.format(values if isinstance(values, str) else "val_dice"))
        for metric in values:
            if isinstance(metric, str):
                raise ValueError(_SHAPES.format(metric))
        return tuple(values)

    @field_validator("objective")
    @classmethod
    def _different(cls, value: tuple[ObjectiveConfig, ...]) -> tuple[ObjectiveConfig, ...]:
        metrics = [objective.metric for objective in value]
        for metric in metrics:
            if metrics.count(metric) > 1:
                raise ValueError(f"names {metric} more than once; keep one of them")
        return value


def sound_part(values: Mapping[str, Any], where: str) -> tuple[SpaceFile, frozenset[str], list[Problem]]:
    """The valid part of a file's own keys, so that the rest of the file can still be checked.

    Args:
        values: Plain values of the file.
        where: File named in the problems.

    Returns:
        The file without its bad keys, the top-level keys with something bad, and the problems.
    """
    sound: dict[str, Any] = {}
    bad: set[str] = set()
    problems: list[Problem] = []
    for key, piece in _pieces(values):
        if wrong := _problems(key, piece, where):
            problems += wrong
            bad.add(key)
        else:
            sound = merged(sound, piece)
    return parse(SpaceFile, sound, where), frozenset(bad), problems


def _pieces(values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The smallest pieces that can be checked alone: a key, an axis, a variant, a searched field, a stage."""
    for key, value in values.items():
        if value is None and key in SpaceFile.model_fields:
            continue
        if key not in ("grid", "resources", "search") or not isinstance(value, Mapping):
            yield str(key), {str(key): value}
            continue
        for name, item in value.items():
            if name == VARIANT and isinstance(item, Mapping) and item:
                yield from ((key, {key: {name: {variant: part}}}) for variant, part in item.items())
            else:
                yield key, {key: {name: item}}


def _problems(key: str, piece: dict[str, Any], where: str) -> list[Problem]:
    if key not in SpaceFile.model_fields and (fix := _right_place(key)):
        return [Problem(where, f"unknown key {key!r}", fix)]
    if key == "resources" and isinstance(piece[key], Mapping):
        unknown = [str(stage) for stage in piece[key] if stage not in STAGES]
        if unknown:
            what = f"unknown key 'resources.{unknown[0]}'"
            return [Problem(where, what, "stages are " + ", ".join(STAGES))]
    try:
        if key == "objective" and isinstance(piece[key], Mapping):
            parse(ObjectiveConfig, piece[key], where, key)
        parse(SpaceFile, piece, where)
    except InputError as error:
        return list(error.problems)
    axes = piece[key] if key == "grid" else {}
    return [problem for name, axis in axes.items() for problem in _axis_problems(name, axis, where)]


def _axis_problems(name: Any, axis: Any, where: str) -> list[Problem]:
    if name == VARIANT:
        return variant_problems(axis, where)
    if isinstance(axis, list):
        return []
    fix = f"named bundles of settings stand under grid.{VARIANT}" if isinstance(axis, Mapping) else ""
    return [Problem(where, f"grid.{name} = {json.dumps(axis)[:80]}: should be a list of values", fix)]


def _right_place(key: str) -> str:
    head, _, rest = key.partition(".")
    if rest and head in SpaceFile.model_fields:
        return f"write it nested, as {head}: {{{rest}: ...}}"
    if head == VARIANT:
        return "write it under grid"
    return "write it under fixed or grid" if head in EXPERIMENT.model_fields else ""
