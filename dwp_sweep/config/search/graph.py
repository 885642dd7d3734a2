"""Suggested values to nodes: the target network of a configuration in one condition, with all that it needs.

Between the search of a space and the graph of its nodes. Knows nothing of who suggests the values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from dwp_sweep.config.experiment import EXPERIMENT, ExperimentConfig
from dwp_sweep.config.graph import GraphBuilder
from dwp_sweep.config.node import Node
from dwp_sweep.config.plain_values import with_value
from dwp_sweep.config.search.space import SearchSpace
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import parse

_MAX_PROBES = 64


class Resolve(Protocol):
    """Turns suggested values into a target node."""

    def __call__(self, values: Mapping[str, Any], place: int) -> Node:
        """The target node of a configuration.

        Args:
            values: Suggested values by dotted key.
            place: Of the condition in the grid.

        Raises:
            InputError: The values do not go together.
        """


def resolver(
    builder: GraphBuilder,
    named: Sequence[tuple[ExperimentConfig, str | None]],
    asked: list[str],
    where: str,
) -> Resolve:
    """A `Resolve` that keeps the keys of its targets.

    Args:
        builder: Makes the nodes and keeps them.
        named: Conditions of the grid, with their variants.
        asked: Takes each target's key once.
        where: File named in problems.
    """

    def resolve(values: Mapping[str, Any], place: int) -> Node:
        condition, variant = named[place]
        node = builder.target(with_values(condition, values, where), variant)
        if node.key not in asked_set:
            asked_set.add(node.key)
            asked.append(node.key)
        return node

    asked_set = set(asked)
    return resolve


def with_values(condition: ExperimentConfig, values: Mapping[str, Any], where: str) -> ExperimentConfig:
    """A condition with suggested values in place of its own.

    Raises:
        InputError: The values do not go together.
    """
    plain = condition.model_dump(mode="json")
    for key, value in values.items():
        plain = with_value(plain, key, value)
    return parse(EXPERIMENT, plain, where, "search")


def asked_conditions(
    conditions: Sequence[ExperimentConfig], search: SearchSpace | None
) -> tuple[ExperimentConfig, ...]:
    """Conditions that stand for all that a search may ask of data and of what is brought.

    Without a search the conditions themselves. With one, every combination of its choices, which decide
    what is needed upstream; numbers never do. Too many combinations are tried choice by choice.
    """
    if search is None:
        return tuple(conditions)
    found: dict[ExperimentConfig, None] = {}
    for study in search.conditions:
        for values in _choices(search, study.values):
            for place in study.members:
                try:
                    found[with_values(conditions[place], values, "")] = None
                except InputError:
                    continue  # values that do not go together are told when they are suggested
    if not found:
        what = "no combination of the searched choices makes a valid experiment"
        raise InputError(Problem("search", what))
    return tuple(found)


def _choices(search: SearchSpace, given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    choices = {key: one.choices for key, one in search.distributions.items() if one.kind == "choice"}
    n_all = 1
    for values in choices.values():
        n_all *= len(values)
    if n_all <= _MAX_PROBES:
        tried: list[tuple[tuple[str, Any], ...]] = list(
            itertools.product(*([(key, value) for value in values] for key, values in choices.items()))
        )
    else:
        tried = [((key, value),) for key, values in choices.items() for value in values]
    for pairs in tried:
        chosen: dict[str, Any] = {}
        for key, value in pairs:
            if search.applies(key, {**given, **chosen}):
                chosen[key] = value
        yield chosen
