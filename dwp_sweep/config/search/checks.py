"""Whether a search fits its space: names that exist, one place for each field, conditions that can hold.

`dwp_sweep.config.reading` tries the searched values themselves; a search without problems is made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from pydantic import BaseModel

from dwp_sweep.config.experiment import EXPERIMENT, ExperimentConfig
from dwp_sweep.config.plain_values import flat, overlap
from dwp_sweep.config.search.space import Distribution, SearchCondition, SearchSpace, over_axes
from dwp_sweep.config.sections import ObjectiveConfig
from dwp_sweep.config.space_file import SpaceFile
from dwp_sweep.config.variants import VARIANT
from dwp_sweep.errors import Problem

_TASK = ("data", "train_size", "split", "seed", "compute")
"""Fields that pose the question or choose the machine: they may be axes of the grid, never searched."""


def search_problems(
    file: SpaceFile,
    search: Mapping[str, Distribution],
    grid: Mapping[str, Any],
    base: Mapping[str, Any],
    where: str,
) -> list[Problem]:
    """What is wrong with a search beside its values.

    Args:
        file: The sound part of the file.
        search: The file's search without overridden fields.
        grid: Axes of the grid; variants with flat settings.
        base: Values that all conditions share, nested.
        where: File named in the problems.
    """
    if not file.search:
        unused = [name for name in ("searcher", "objective", "scheduler") if name in file.model_fields_set]
        fix = "name fields under search, or leave it out"
        return [Problem(where, f"{name} is given, and nothing is searched for", fix) for name in unused]
    problems = [problem for key in search for problem in _place_problems(key, grid, where)]
    keep_one = "keep one of the two"
    problems += [
        Problem(where, f"search.{key} and search.{other} name the same field", keep_one)
        for key, other in combinations(search, 2)
        if overlap(key, other)
    ]
    given = {*grid, *flat(base)}
    of_variants = {key for settings in grid.get(VARIANT, {}).values() for key in settings}
    problems += _when_problems(search, given | of_variants, where)
    ordered = _in_order(search)
    problems += [
        Problem(where, f"search.{key} depends on itself through its when", "drop one of the conditions")
        for key in search
        if key not in ordered
    ]
    problems += [
        Problem(
            where,
            f"objective.over = {axis!r}: the grid has no such axis",
            f"give grid.{axis}, or leave it out",
        )
        for axis in over_axes(file.objective)
        if axis not in given or axis == VARIANT
    ]
    return problems + _scheduler_problems(file, where)


def make_search(
    file: SpaceFile,
    search: Mapping[str, Distribution],
    grid: Mapping[str, Any],
    conditions: Sequence[ExperimentConfig],
    variants: Sequence[str | None],
) -> SearchSpace | None:
    """The search of a file without problems; None where it has none."""
    if not search:
        return None
    objectives = file.objective or (ObjectiveConfig(),)
    scheduler = file.scheduler
    if scheduler.kind is None:
        is_reported = len(objectives) == 1 and objectives[0].epoch_metric is not None
        scheduler = scheduler.model_copy(update={"kind": "asha" if is_reported else "none"})
    return SearchSpace(
        distributions=_in_order(search),
        objectives=objectives,
        searcher=file.searcher,
        scheduler=scheduler,
        conditions=_studies(grid, over_axes(objectives), conditions, variants),
    )


def field_names(model: type[BaseModel] = EXPERIMENT, prefix: str = "") -> Iterator[str]:
    """Dotted keys of all fields of an experiment, sections included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from field_names(inner, f"{prefix}{name}.")


def _place_problems(key: str, grid: Mapping[str, Any], where: str) -> list[Problem]:
    problems = [
        Problem(where, f"search.{key} and grid.{axis} name the same field", "keep one of the two")
        for axis in grid
        if axis != VARIANT and overlap(key, axis)
    ]
    problems += [
        Problem(where, f"search.{key} is set by grid.{VARIANT}.{name} too", "keep one of the two")
        for name, settings in grid.get(VARIANT, {}).items()
        if any(overlap(key, setting) for setting in settings)
    ]
    if key.partition(".")[0] in _TASK:
        what = f"search.{key} belongs to the question, not to the answer"
        problems.append(Problem(where, what, "write it under grid or fixed"))
    return problems


def _when_problems(search: Mapping[str, Distribution], given: set[str], where: str) -> list[Problem]:
    problems, known = [], set(field_names())
    for key, distribution in search.items():
        for name, allowed in distribution.when.items():
            place = f"search.{key}.when.{name}"
            if name in search:
                problems += [
                    Problem(where, f"{place} = {value!r}: search.{name} never suggests it")
                    for value in allowed
                    if not search[name].holds(value)
                ]
            elif name not in given and name in known:  # an unknown field fails where its values are tried
                fix = f"give {name} under fixed, grid or search"
                problems.append(Problem(where, f"{place}: nothing in this file sets {name}", fix))
    return problems


def _in_order(search: Mapping[str, Distribution]) -> dict[str, Distribution]:
    """Fields after those that their ``when`` names; fields of a cycle are left out."""
    ordered: dict[str, Distribution] = {}
    while ready := [
        key
        for key, distribution in search.items()
        if key not in ordered and all(name in ordered or name not in search for name in distribution.when)
    ]:
        ordered |= {key: search[key] for key in ready}
    return ordered


def _scheduler_problems(file: SpaceFile, where: str) -> list[Problem]:
    kind, objectives = file.scheduler.kind, file.objective
    if kind in (None, "none"):
        return []
    if len(objectives) > 1:
        what = f"scheduler.kind = {kind!r}: stops by one objective, and there are {len(objectives)}"
        return [Problem(where, what, "scheduler: {kind: none}, or keep one objective")]
    if objectives and objectives[0].epoch_metric is None:
        what = f"scheduler.kind = {kind!r}: no epoch reports {objectives[0].metric}"
        return [Problem(where, what, "scheduler: {kind: none}")]
    return []


def _studies(
    grid: Mapping[str, Any],
    over: Sequence[str],
    conditions: Sequence[ExperimentConfig],
    variants: Sequence[str | None],
) -> tuple[SearchCondition, ...]:
    """One study for each combination of the axes that are not averaged over."""
    axes = [axis for axis in grid if axis not in over]
    members: dict[str, list[int]] = {}
    given: dict[str, dict[str, Any]] = {}
    for place, (condition, variant) in enumerate(zip(conditions, variants, strict=True)):
        values = flat(condition.model_dump(mode="json"))
        shown = {axis: variant if axis == VARIANT else _value(values, axis) for axis in axes}
        name = ", ".join(f"{axis}={value}" for axis, value in shown.items()) or "all"
        members.setdefault(name, []).append(place)
        given.setdefault(name, {key: value for key, value in values.items() if key not in over})
    return tuple(SearchCondition(name, tuple(places), given[name]) for name, places in members.items())


def _value(values: Mapping[str, Any], axis: str) -> Any:
    if axis in values:
        return values[axis]
    return {key: value for key, value in values.items() if key.startswith(f"{axis}.")}
