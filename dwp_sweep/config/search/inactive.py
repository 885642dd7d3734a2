"""Searched fields without effect: those that apply in no study, and those that change no network.

The first kind follows from the space file alone. The second kind, of which every value gives the same run
under another name, is found by trying values on a sweep that is thrown away.
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
"""Studies that are examined: those of a larger grid differ in size and split, which decide nothing here."""

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
