"""Searched fields that no study would ever search, whatever is chosen: their ``when`` can hold nowhere.

After the reading of a space file whose search is sound otherwise. Knows nothing of nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dwp_sweep.config.distribution import same_value
from dwp_sweep.config.search import SearchCondition, SearchSpace
from dwp_sweep.config.variants import meet
from dwp_sweep.errors import Problem


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
        _problem(search, key, where)
        for key in search.distributions
        if not any(meet(name, one) for name in needed(search, key) for one in taken)
        and not any(can_apply(search, key, condition) for condition in search.conditions)
    ]


def needed(search: SearchSpace, key: str) -> dict[str, list[Any]]:
    """Name -> allowed values: what ``when`` asks for, and what the fields it names ask for in turn."""
    found: dict[str, list[Any]] = {}
    waiting = [key]
    while waiting:
        for name, allowed in search.distributions[waiting.pop()].when.items():
            common = found.get(name, list(allowed))
            found[name] = [one for one in common if any(same_value(one, other) for other in allowed)]
            waiting += [name] if name in search.distributions else []
    return found


def can_apply(search: SearchSpace, key: str, condition: SearchCondition) -> bool:
    """Whether a study may come to search a field."""
    return all(_can_be(search, name, one, condition) for name, one in needed(search, key).items())


def _can_be(search: SearchSpace, name: str, allowed: Sequence[Any], condition: SearchCondition) -> bool:
    if name in search.distributions:
        return any(search.distributions[name].holds(value) for value in allowed)
    given = condition.values
    return name in given and any(same_value(given[name], value) for value in allowed)


def _problem(search: SearchSpace, key: str, where: str) -> Problem:
    for name in needed(search, key):
        if any(meet(name, axis) for axis in search.over):
            what = f"search.{key} can never apply: {name} has several values in a study, its objective.over"
            return Problem(where, what, f"drop {name} from its when, or from objective.over")
    for name, allowed in needed(search, key).items():
        if not any(_can_be(search, name, allowed, condition) for condition in search.conditions):
            what = f"search.{key} can never apply: {name} never has a value that its when asks for"
            return Problem(where, what, "change its when, or leave it out")
    what = f"search.{key} can never apply: no study has all the values that its when asks for"
    return Problem(where, what, "change its when, or leave it out")
