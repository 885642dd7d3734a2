"""Whether a search fits its space: names that exist, one place for each field, conditions that can hold.

Between the space file and the reading of its values, of which a search without problems is made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from pydantic import BaseModel

from dwp_sweep.config.experiment import EXPERIMENT, ExperimentConfig
from dwp_sweep.config.plain_values import flat, overlap
from dwp_sweep.config.search.space import Distribution, SearchCondition, SearchSpace, over_axes
from dwp_sweep.config.sections import ObjectiveConfig, SchedulerConfig
from dwp_sweep.config.space_file import SpaceFile
from dwp_sweep.config.variants import VARIANT
from dwp_sweep.errors import Problem

_TASK = ("data", "train_size", "split", "seed", "compute")
"""What says which question is asked, and on which machine: an axis of the grid, never a thing to search."""


def search_problems(
    file: SpaceFile,
    search: Mapping[str, Distribution],
    grid: Mapping[str, Any],
    base: Mapping[str, Any],
    where: str,
) -> list[Problem]:
    """What is wrong with a search beside its values, which are tried in the experiment elsewhere.

    Args:
        file: The sound part of the file.
        search: What is left of its search.
        grid: Axes of the grid; variants with flat settings.
        base: Values that all conditions share, nested.
        where: File named in the problems.
    """
    if not file.search:
        unused = [name for name in ("searcher", "objective", "scheduler") if name in file.model_fields_set]
        fix = "name fields under search, or leave it out"
        return [Problem(where, f"{name} is given, and nothing is searched for", fix) for name in unused]
    found = [problem for key in search for problem in _place_problems(key, grid, where)]
    found += [
        Problem(where, f"search.{one} and search.{other} name the same field", "keep one of the two")
        for one, other in combinations(search, 2)
        if overlap(one, other)
    ]
    of_variants = {key for settings in grid.get(VARIANT, {}).values() for key in settings}
    given = {*grid, *flat(base), *of_variants}
    found += [
        problem
        for key, one in search.items()
        for problem in _when_problems(key, one, search, given, base, where)
    ]
    found += _cycles(search, where)
    found += _over_problems(file.objective, grid, base, where)
    return found + _scheduler_problems(file, where)


def make_search(
    file: SpaceFile,
    search: Mapping[str, Distribution],
    grid: Mapping[str, Any],
    conditions: Sequence[ExperimentConfig],
    variants: Sequence[str | None],
) -> SearchSpace | None:
    """The search of a file without problems; None where nothing is searched for."""
    if not search:
        return None
    objectives = file.objective or (ObjectiveConfig(),)
    return SearchSpace(
        distributions=_in_order(search),
        objectives=objectives,
        searcher=file.searcher,
        scheduler=_with_kind(file.scheduler, objectives),
        conditions=_studies(grid, over_axes(objectives), conditions, variants),
    )


def field_names(model: type[BaseModel] = EXPERIMENT, prefix: str = "") -> Iterator[str]:
    """Dotted keys of all fields of an experiment, sections included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from field_names(inner, f"{prefix}{name}.")


def _with_kind(config: SchedulerConfig, objectives: Sequence[ObjectiveConfig]) -> SchedulerConfig:
    if config.kind is not None:
        return config
    is_followed = len(objectives) == 1 and objectives[0].epoch_metric is not None
    return config.model_copy(update={"kind": "asha" if is_followed else "none"})


def _place_problems(key: str, grid: Mapping[str, Any], where: str) -> list[Problem]:
    found = [
        Problem(where, f"search.{key} and grid.{axis} name the same field", "keep one of the two")
        for axis in grid
        if axis != VARIANT and overlap(key, axis)
    ]
    found += [
        Problem(where, f"search.{key} is set by grid.{VARIANT}.{name} too", "keep one of the two")
        for name, settings in grid.get(VARIANT, {}).items()
        if any(overlap(key, setting) for setting in settings)
    ]
    if key.partition(".")[0] in _TASK:
        what = f"search.{key} belongs to the question, not to the answer"
        found.append(Problem(where, what, "write it under grid or fixed"))
    return found


def _when_problems(
    key: str,
    one: Distribution,
    search: Mapping[str, Distribution],
    given: set[str],
    base: Mapping[str, Any],
    where: str,
) -> list[Problem]:
    found, known = [], set(field_names())
    for name, allowed in one.when.items():
        place = f"search.{key}.when.{name}"
        if name in search:
            found += [
                Problem(where, f"{place} = {value!r}: search.{name} never suggests it")
                for value in allowed
                if not search[name].holds(value)
            ]
        elif name not in given and name in known:  # an unknown field is told where its values are tried
            fix = f"give {name} under fixed, grid or search"
            found.append(Problem(where, f"{place}: nothing in this file sets {name}", fix))
    return found


def _cycles(search: Mapping[str, Distribution], where: str) -> list[Problem]:
    stuck = set(search) - set(_in_order(search))
    what = "depends on itself through its when"
    return [
        Problem(where, f"search.{key} {what}", "drop one of the conditions") for key in search if key in stuck
    ]


def _in_order(search: Mapping[str, Distribution]) -> dict[str, Distribution]:
    """Fields after those that their ``when`` names; fields of a cycle are left out."""
    ordered: dict[str, Distribution] = {}
    while ready := [
        key
        for key, one in search.items()
        if key not in ordered and all(name in ordered or name not in search for name in one.when)
    ]:
        ordered |= {key: search[key] for key in ready}
    return ordered


def _over_problems(
    objectives: Sequence[ObjectiveConfig], grid: Mapping[str, Any], base: Mapping[str, Any], where: str
) -> list[Problem]:
    given = set(grid) | set(flat(base))
    return [
        Problem(
            where,
            f"objective.over = {axis!r}: the grid has no such axis",
            f"give grid.{axis}, or leave it out",
        )
        for axis in over_axes(objectives)
        if axis not in given or axis == VARIANT
    ]


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
    axes = [axis for axis in grid if axis not in over]
    members: dict[str, list[int]] = {}
    values: dict[str, dict[str, Any]] = {}
    for place, (condition, variant) in enumerate(zip(conditions, variants, strict=True)):
        here = flat(condition.model_dump(mode="json"))
        name = (
            ", ".join(f"{axis}={variant if axis == VARIANT else _value(here, axis)}" for axis in axes)
            or "all"
        )
        members.setdefault(name, []).append(place)
        values.setdefault(name, {key: value for key, value in here.items() if key not in over})
    return tuple(SearchCondition(name, tuple(places), values[name]) for name, places in members.items())


def _value(values: Mapping[str, Any], axis: str) -> Any:
    if axis in values:
        return values[axis]
    return {key: value for key, value in values.items() if key.startswith(f"{axis}.")}
