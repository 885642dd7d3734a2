"""Values of a search space with overrides: the conditions that they mean, and all problems of them.

`dwp_sweep.config.space` reads the values of a file at full and at smoke scale by this module. Bad parts are
left out and the rest is still checked, so that all problems are reported at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dwp_sweep.config.experiment import EXPERIMENT, ExperimentConfig
from dwp_sweep.config.plain_values import merged, nested, read_yaml, with_value, without
from dwp_sweep.config.search.checks import make_search, search_problems
from dwp_sweep.config.search.space import Distribution, SearchSpace
from dwp_sweep.config.space_file import SpaceFile, sound_part
from dwp_sweep.config.variants import (
    VARIANT,
    chosen_variants,
    conflicts,
    flat_variants,
    same_settings,
    with_variant_value,
)
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import parse


@dataclass(frozen=True)
class Overrides:
    """Parsed overrides.

    Attributes:
        own: Dotted key of the file -> value.
        experiment: Dotted key of the experiment -> value; replaces the file's value or axis, and a variant's
            setting. ``variant`` -> names of the variants to keep.
        problems: Of texts that are no overrides.
    """

    own: Mapping[str, Any] = field(default_factory=dict)
    experiment: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def applied_to(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the file's values with its own keys changed."""
        result = dict(values)
        for key, value in self.own.items():
            section, _, axis = key.partition(".")
            if section == "search" and axis and isinstance(result.get("search") or {}, Mapping):
                result["search"] = {**(result.get("search") or {}), axis: value}
            elif section != "grid" or not axis:
                result = with_value(result, key, value)
            elif isinstance(grid := result.get("grid") or {}, Mapping):
                # An axis keeps its dotted name. A grid that is no mapping is the file's own problem.
                variants, place = grid.get(VARIANT) or {}, axis.removeprefix(f"{VARIANT}.")
                if place != axis and isinstance(variants, Mapping):
                    change = {VARIANT: with_variant_value(variants, place, value)}
                else:
                    change = {axis: value}
                result["grid"] = {**grid, **change}
        return result


def read_overrides(texts: Sequence[str], own_keys: Collection[str]) -> Overrides:
    """Parse ``key=value`` texts; the value is YAML.

    Args:
        texts: As given after ``--set``.
        own_keys: Top-level keys of a file; a key that begins with another name belongs to the experiment.
    """
    own: dict[str, Any] = {}
    experiment: dict[str, Any] = {}
    problems: list[Problem] = []
    for text in texts:
        where = f"--set {text}"
        key, equals, raw = text.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            problems.append(Problem(where, "is not of the form key=value", "e.g. --set target.lr=1e-4"))
            continue
        try:
            value = read_yaml(raw, where)
        except InputError as error:
            problems += error.problems
            continue
        problems += value.problems
        (own if key.split(".")[0] in own_keys else experiment)[key] = value.values
    return Overrides(own, experiment, tuple(problems))


@dataclass(frozen=True)
class Reading:
    """The meaning of a search space's values.

    Attributes:
        file: The sound part of the file's own keys.
        bad: Top-level keys with a part that was left out.
        base: Plain values that all conditions share, nested.
        grid: Axes: dotted key -> values; ``variant`` -> name -> settings by dotted key.
        conditions: The valid ones.
        variants: The variant of each condition; None where the grid has none.
        problems: All, in the order of the file's sections.
        search: The search in every condition; None where there is none, or where there are problems.
    """

    file: SpaceFile
    bad: frozenset[str]
    base: Mapping[str, Any]
    grid: Mapping[str, Any]
    conditions: tuple[ExperimentConfig, ...]
    variants: tuple[str | None, ...]
    problems: tuple[Problem, ...]
    search: SearchSpace | None = None


def read_values(values: Mapping[str, Any], overrides: Overrides, where: str) -> Reading:
    """Read plain values of a search space; problems are returned, not raised.

    Args:
        values: Of the file, its own keys overridden already.
        overrides: Their experiment keys replace fixed values and axes.
        where: File named in the problems.
    """
    file, bad, problems = sound_part(values, where)
    taken = overrides.experiment
    base = merged(nested({"data": file.data}), nested(file.fixed))
    for key, value in taken.items():
        if key != VARIANT or VARIANT not in file.grid:
            base = with_value(base, key, value)
    grid = {key: axis for key, axis in file.grid.items() if key == VARIANT or key not in taken}
    if VARIANT in grid:
        grid[VARIANT] = flat_variants(grid[VARIANT], taken)
        if VARIANT in taken:
            option = f"--set {VARIANT}={taken[VARIANT]}"
            grid[VARIANT], unknown = chosen_variants(grid[VARIANT], taken[VARIANT], option)
            problems += unknown
    wrong = [
        problem
        for problem in _problems(base, where)
        # Data that were left out as bad are not reported as missing.
        if "data" not in bad or not problem.what.startswith("missing key 'data")
    ]
    wrong += [problem for key, axis in grid.items() for problem in _axis_problems(base, key, axis, where)]
    search = without(file.search, taken)
    wrong += [problem for key in search for problem in _searched_problems(base, key, search[key], where)]
    if file.search or "search" not in bad:  # a search without a sound field is reported already
        wrong += search_problems(file, search, grid, base, where)
    if VARIANT in grid:
        wrong += conflicts(grid[VARIANT], [key for key in grid if key != VARIANT], where)
    named, unfit = _conditions(base, grid, where)
    # A condition that cannot be read adds nothing where its base or one of its values is bad already.
    problems += wrong or ([] if "data" in bad else unfit)
    if VARIANT in grid and not wrong:
        problems += same_settings(named, where)
    variants, conditions = tuple(name for name, _ in named), tuple(condition for _, condition in named)
    space = None if problems else make_search(file, search, grid, conditions, variants)
    return Reading(file, bad, base, grid, conditions, variants, tuple(dict.fromkeys(problems)), space)


def _problems(values: Mapping[str, Any], where: str, prefix: str = "") -> list[Problem]:
    try:
        parse(EXPERIMENT, values, where, prefix)
    except InputError as error:
        return list(error.problems)
    return []


def _axis_problems(base: Mapping[str, Any], key: str, axis: Any, where: str) -> list[Problem]:
    if not axis:
        return [Problem(where, f"grid.{key} is empty", "give at least one value")]
    if key != VARIANT:
        return _new_problems(base, (with_value(base, key, value) for value in axis), where, "grid")
    return [
        problem
        for name, settings in axis.items()
        for problem in _new_problems(base, [merged(base, nested(settings))], where, f"grid.{key}.{name}")
    ]


def _searched_problems(
    base: Mapping[str, Any], key: str, distribution: Distribution, where: str
) -> list[Problem]:
    """Problems of the values of ``when``, and of a field's own values where these hold."""
    problems = []
    for name, allowed in distribution.when.items():
        tried = [with_value(base, name, value) for value in allowed]
        problems += _new_problems(base, tried, where, f"search.{key}.when")
        base = tried[0] if tried else base
    values = (with_value(base, key, value) for value in distribution.probes)
    return problems + _new_problems(base, values, where, "search")


def _new_problems(
    base: Mapping[str, Any], tried: Iterable[Mapping[str, Any]], where: str, prefix: str
) -> list[Problem]:
    """Problems of each of the tried values that the base does not have itself."""
    of_base = _problems(base, where, prefix)
    return [
        problem for values in tried for problem in _problems(values, where, prefix) if problem not in of_base
    ]


def _conditions(
    base: Mapping[str, Any], grid: Mapping[str, Any], where: str
) -> tuple[list[tuple[str | None, ExperimentConfig]], list[Problem]]:
    """Variant and experiment of every valid combination of the axes, and the problems of the others."""
    conditions: list[tuple[str | None, ExperimentConfig]] = []
    problems: list[Problem] = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        variant = chosen.pop(VARIANT, None)
        condition = merged(base, nested(grid[VARIANT][variant])) if variant is not None else dict(base)
        for key, value in chosen.items():
            condition = with_value(condition, key, value)
        try:
            conditions.append((variant, parse(EXPERIMENT, condition, where)))
        except InputError as error:
            problems += error.problems
    return conditions, problems
