"""Whether a search fits its space: names that exist, one place for each field, fields that have an effect.

`dwp_sweep.config.reading` tries the searched values themselves. A field has no effect if it applies in no
study, or if it changes no network: then every value gives the same run under another name. The first follows
from the file alone; the second is found by trying values on a sweep that is thrown away.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from pydantic import BaseModel

from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.config.plain_values import flat, overlap
from dwp_sweep.config.search.definition import Resolve, SearchCondition, SearchSpace, in_order, over_axes
from dwp_sweep.config.search.distribution import Distribution, among
from dwp_sweep.config.search.first_points import point_problems
from dwp_sweep.config.sections import SpaceFile
from dwp_sweep.config.variants import VARIANT
from dwp_sweep.errors import InputError, Problem

_TASK = ("data", "train_size", "split", "seed", "fold", "compute")
"""Fields that pose the question or choose the machine: they may be axes of the grid, never searched."""

_MAX_STUDIES = 24
"""Studies that are examined: those of a larger grid differ in size and split, which decide nothing here."""

_MAX_COMBINATIONS = 64


def search_problems(
    file: SpaceFile,
    search: Mapping[str, Distribution],
    grid: Mapping[str, Any],
    base: Mapping[str, Any],
    where: str,
) -> list[Problem]:
    """What is wrong with a search beside its values.

    Args:
        file: The sound part of the file; it has a search.
        search: The file's search without overridden fields.
        grid: Axes of the grid; variants with flat settings.
        base: Values that all conditions share, nested.
        where: File named in the problems.
    """
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
    ordered = in_order(search)
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
    taken = file.search.keys() - search.keys()
    problems += point_problems(file.searcher, search, taken, where)
    return problems + _scheduler_problems(file, where)


def out_of_reach(search: SearchSpace, taken: Iterable[str], where: str) -> list[Problem]:
    """One problem for each field that applies in no study.

    Args:
        search: A sound search.
        taken: Dotted keys of overrides: who keeps one method on the command line
            needs no field of the others.
        where: File named in the problems.
    """
    taken = tuple(taken)
    problems = []
    for key in search.distributions:
        needed = _needed(search, key)
        if any(overlap(name, override) for name in needed for override in taken):
            continue
        if any(_can_apply(search, needed, study) for study in search.conditions):
            continue
        why, fix = _why_never(search, needed)
        problems.append(Problem(where, f"search.{key} can never apply: {why}", fix))
    return problems


def inactive_parameters(search: SearchSpace, resolve: Resolve, where: str) -> list[str]:
    """In words, the fields that change no network in some studies, which is legal.

    Args:
        search: A sound search.
        resolve: Of a sweep that is thrown away.
        where: File named in problems.

    Raises:
        InputError: A field changes no network in any study.
    """
    notes, problems = [], []
    for key in search.distributions:
        needed = _needed(search, key)
        studies = [one for one in search.conditions[:_MAX_STUDIES] if _can_apply(search, needed, one)]
        idle = [study.name for study in studies if _is_idle(search, resolve, key, study)]
        if idle and len(idle) == len(studies):
            what = f"search.{key} changes no network: nothing that it is searched with reads it"
            problems.append(Problem(where, what, "leave it out, or search what it belongs to as well"))
        elif idle:
            more = f" and {len(idle) - 1} more" if len(idle) > 1 else ""
            notes.append(f"search.{key} changes no network of {idle[0]}{more}: give it a when")
    if problems:
        raise InputError(problems)
    return notes


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


def _needed(search: SearchSpace, key: str) -> dict[str, list[Any]]:
    """Name -> allowed values: what a field's ``when`` requires, and what the fields that it names require."""
    needed: dict[str, list[Any]] = {}
    waiting = [key]
    while waiting:
        for name, allowed in search.distributions[waiting.pop()].when.items():
            needed[name] = [value for value in needed.get(name, allowed) if among(value, allowed)]
            waiting += [name] if name in search.distributions else []
    return needed


def _can_apply(search: SearchSpace, needed: Mapping[str, Sequence[Any]], study: SearchCondition) -> bool:
    """Whether a study can give all the needed values."""
    for name, allowed in needed.items():
        if name in search.distributions:
            if not any(search.distributions[name].holds(value) for value in allowed):
                return False
        elif name not in study.values or not among(study.values[name], allowed):
            return False
    return True


def _why_never(search: SearchSpace, needed: Mapping[str, Sequence[Any]]) -> tuple[str, str]:
    """Why no study gives the needed values, and what to do about it."""
    for name in needed:
        if any(overlap(name, axis) for axis in search.over):
            why = f"{name} has several values in a study, its objective.over"
            return why, f"drop {name} from its when, or from objective.over"
    fix = "change its when, or leave it out"
    for name, allowed in needed.items():
        if not any(_can_apply(search, {name: allowed}, study) for study in search.conditions):
            return f"{name} never has a value that its when asks for", fix
    return "no study has all the values that its when asks for", fix


def _is_idle(search: SearchSpace, resolve: Resolve, key: str, study: SearchCondition) -> bool:
    """Whether no value of a field changes a network, whatever the other fields are.

    Every combination of the other choices is tried, with all numbers at their minimum and at their maximum.
    """
    choices = {
        name: distribution.choices
        for name, distribution in search.distributions.items()
        if distribution.kind == "choice" and name != key
    }
    if math.prod(map(len, choices.values())) > _MAX_COMBINATIONS:
        return False  # too many to be sure
    applied = False
    for values, end in itertools.product(itertools.product(*choices.values()), (0, -1)):
        ends = {name: distribution.probes[end] for name, distribution in search.distributions.items()}
        n_networks = _n_networks(search, resolve, key, study, ends | dict(zip(choices, values, strict=True)))
        if n_networks > 1:
            return False
        applied = applied or n_networks == 1
    return applied


def _n_networks(
    search: SearchSpace, resolve: Resolve, key: str, study: SearchCondition, others: Mapping[str, Any]
) -> int:
    """How many networks the values of a field make, given the others; 0 where it does not apply."""
    keys = set()
    for value in search.distributions[key].probes:
        values = search.configuration(study.values, {**others, key: value}.__getitem__)
        if key not in values:
            return 0
        try:
            keys.add(resolve(values, study.members[0]).key)
        except InputError:
            continue  # reported when the search suggests it
    return len(keys)
