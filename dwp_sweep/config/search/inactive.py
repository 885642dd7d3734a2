"""Searched fields that are never searched: those that apply in no study, and those that change no network.

The first are found from the space file alone. The others, of which every value is the same run under
another name, are found by trying values on a sweep that is thrown away.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dwp_sweep.config.plain_values import overlap
from dwp_sweep.config.search.space import Resolve, SearchCondition, SearchSpace, among
from dwp_sweep.errors import InputError, Problem

_MAX_STUDIES = 24
"""Studies that are looked at: those of a larger grid differ in size and split, which decide nothing here."""

_MAX_COMBINATIONS = 64


def out_of_reach(search: SearchSpace, taken: Iterable[str], where: str) -> list[Problem]:
    """One problem for each field that applies in no study.

    Args:
        search: A sound search.
        taken: Dotted keys of overrides: who keeps one method on the command line
            needs no field of the others.
        where: File named in the problems.
    """
    taken = tuple(taken)
    return [
        _never_applies(search, key, where)
        for key in search.distributions
        if not any(overlap(name, one) for name in _needed(search, key) for one in taken)
        and not any(_can_apply(search, key, study) for study in search.conditions)
    ]


def inactive_parameters(search: SearchSpace, resolve: Resolve, where: str) -> list[str]:
    """In words, the fields that change no network in some studies; legal, and seldom meant.

    Args:
        search: A sound search.
        resolve: Of a sweep that is thrown away.
        where: File named in problems.

    Raises:
        InputError: A field changes no network in any study.
    """
    studies = search.conditions[:_MAX_STUDIES]
    notes, problems = [], []
    for key in search.distributions:
        found = {
            one.name: _is_idle(search, resolve, key, one) for one in studies if _can_apply(search, key, one)
        }
        idle = [name for name, is_idle in found.items() if is_idle]
        if idle and len(idle) == len(found):
            what = f"search.{key} changes no network: nothing that it is searched with reads it"
            problems.append(Problem(where, what, "leave it out, or search what it belongs to as well"))
        elif idle:
            more = f" and {len(idle) - 1} more" if len(idle) > 1 else ""
            notes.append(f"search.{key} changes no network of {idle[0]}{more}: give it a when")
    if problems:
        raise InputError(problems)
    return notes


def _never_applies(search: SearchSpace, key: str, where: str) -> Problem:
    needed = _needed(search, key)
    for name in needed:
        if any(overlap(name, axis) for axis in search.over):
            what = f"search.{key} can never apply: {name} has several values in a study, its objective.over"
            return Problem(where, what, f"drop {name} from its when, or from objective.over")
    for name, allowed in needed.items():
        if not any(_can_be(search, name, allowed, study) for study in search.conditions):
            what = f"search.{key} can never apply: {name} never has a value that its when asks for"
            return Problem(where, what, "change its when, or leave it out")
    what = f"search.{key} can never apply: no study has all the values that its when asks for"
    return Problem(where, what, "change its when, or leave it out")


def _needed(search: SearchSpace, key: str) -> dict[str, list[Any]]:
    """Name -> allowed values: what ``when`` asks for, and what the fields it names ask for in turn."""
    needed: dict[str, list[Any]] = {}
    waiting = [key]
    while waiting:
        for name, allowed in search.distributions[waiting.pop()].when.items():
            needed[name] = [value for value in needed.get(name, allowed) if among(value, allowed)]
            waiting += [name] if name in search.distributions else []
    return needed


def _can_apply(search: SearchSpace, key: str, study: SearchCondition) -> bool:
    """Whether a study may come to search a field."""
    return all(_can_be(search, name, allowed, study) for name, allowed in _needed(search, key).items())


def _can_be(search: SearchSpace, name: str, allowed: Sequence[Any], study: SearchCondition) -> bool:
    if name in search.distributions:
        return any(search.distributions[name].holds(value) for value in allowed)
    return name in study.values and among(study.values[name], allowed)


def _is_idle(search: SearchSpace, resolve: Resolve, key: str, study: SearchCondition) -> bool:
    """Whether no value of a field changes a network, whatever the other fields are.

    Every combination of the other choices is tried, with all numbers at their least and at their largest.
    """
    choices = [name for name, one in search.distributions.items() if one.kind == "choice" and name != key]
    combinations = itertools.product(*(search.distributions[name].choices for name in choices))
    if math.prod(len(search.distributions[name].choices) for name in choices) > _MAX_COMBINATIONS:
        return False  # too many to be sure
    applied = False
    for values, numbers in itertools.product(combinations, (0, -1)):
        found = _is_same(search, resolve, key, study, dict(zip(choices, values, strict=True)), numbers)
        if found is False:
            return False
        applied = applied or bool(found)
    return applied


def _is_same(
    search: SearchSpace,
    resolve: Resolve,
    key: str,
    study: SearchCondition,
    chosen: Mapping[str, Any],
    numbers: int,
) -> bool | None:
    """Whether all values of a field make one network, given the others; None where it does not apply."""
    others = {name: one.probes[numbers] for name, one in search.distributions.items()} | dict(chosen)
    keys = set()
    for value in search.distributions[key].probes:
        values = search.configuration(study.values, {**others, key: value}.__getitem__)
        if key not in values:
            return None
        try:
            keys.add(resolve(values, study.members[0]).key)
        except InputError:
            continue  # told when the search suggests it
    return len(keys) == 1 if keys else None
