"""Searched fields that change no network: every value of them is the same run under another name.

After a search has been resolved into nodes; tries values on a sweep that is thrown away. Knows nothing of
who suggests the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dwp_sweep.config.search import SearchCondition, SearchSpace
from dwp_sweep.config.search_graph import Resolve
from dwp_sweep.config.search_reach import can_apply, needed
from dwp_sweep.errors import InputError, Problem

_MAX_STUDIES = 24
"""Studies that are looked at: those of a larger grid differ in size and split, which decide nothing here."""


def idle_fields(search: SearchSpace, resolve: Resolve, where: str) -> list[str]:
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
            one.name: _is_idle(search, resolve, key, one) for one in studies if can_apply(search, key, one)
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


def _is_idle(search: SearchSpace, resolve: Resolve, key: str, study: SearchCondition) -> bool:
    # What the others are may decide whether a field is read: two very different settings of them are tried.
    return all(_is_same(search, resolve, key, study, others) for others in (0, -1))


def _is_same(search: SearchSpace, resolve: Resolve, key: str, study: SearchCondition, others: int) -> bool:
    keys = set()
    for value in search.distributions[key].probes:
        values = _values(search, key, value, study, others)
        if values is None:
            return False
        try:
            keys.add(resolve(values, study.members[0]).key)
        except InputError:
            return False  # told when the search suggests it
    return len(keys) == 1


def _values(
    search: SearchSpace, key: str, value: Any, study: SearchCondition, others: int
) -> Mapping[str, Any] | None:
    """A configuration with a value of one field; None where the field does not apply in it."""
    asked: Mapping[str, Sequence[Any]] = {**needed(search, key), key: (value,)}
    values: dict[str, Any] = {}
    for name, one in search.distributions.items():
        if search.applies(name, {**study.values, **values}):
            allowed = [each for each in asked.get(name, one.probes) if one.holds(each)]
            values[name] = allowed[others] if allowed else one.probes[others]
    return values if key in values else None
