"""Values of a search space, overrides applied: what they mean, and everything that is wrong with them.

Between the file, which is read at full and at smoke scale, and the space that is made of it. What is bad
is left out and the rest is still checked, so that nobody meets the problems one by one.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
        experiment: Dotted key of the experiment -> value; takes the place of the file's value or axis,
            and of a variant's setting. ``variant`` -> names of those to keep.
        problems: Of texts that are none.
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
                result["grid"] = {**grid, **_changed_axis(grid, axis, value)}
        return result


def read_overrides(texts: Sequence[str], own_keys: Collection[str]) -> Overrides:
    """Parse ``key=value`` texts; the value is YAML.

    Args:
        texts: As given after ``--set``.
        own_keys: Top-level keys of a file; what begins with another one belongs to the experiment.
    """
    own: dict[str, Any] = {}
    experiment: dict[str, Any] = {}
    problems: list[Problem] = []
    for text in texts:
        key, equals, raw = text.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            problems.append(
                Problem(f"--set {text}", "is not of the form key=value", "e.g. --set target.lr=1e-4")
            )
            continue
        try:
            yaml_text = read_yaml(raw, f"--set {text}")
        except InputError as error:
            problems += error.problems
            continue
        problems += yaml_text.problems
        (own if key.split(".")[0] in own_keys else experiment)[key] = yaml_text.values
    return Overrides(own, experiment, tuple(problems))


@dataclass(frozen=True)
class Reading:
    """What values mean.

    Attributes:
        file: The sound part of the file's own keys.
        bad: Top-level keys of which something was left out.
        base: Plain values that all conditions share, nested.
        grid: Axes: dotted key -> values; ``variant`` -> name -> settings by dotted key.
        conditions: Those that are valid.
        variants: The variant of each condition; None where the grid has none.
        problems: All, in the order of the file's sections.
        search: What is searched for in every condition; None where nothing is, or something is wrong with it.
    """

    file: SpaceFile
    bad: frozenset[str]
    base: Mapping[str, Any]
    grid: Mapping[str, Any]
    conditions: tuple[ExperimentConfig, ...]
    variants: tuple[str | None, ...]
    problems: tuple[Problem, ...]
    search: SearchSpace | None = None

    def is_sound(self, key: str) -> bool:
        """Whether nothing of a top-level key was left out."""
        return key not in self.bad


def read_values(values: Mapping[str, Any], overrides: Overrides, where: str) -> Reading:
    """Read plain values of a search space; never raises for what it finds.

    Args:
        values: Of the file, its own keys overridden already.
        overrides: Whose experiment keys take the place of fixed values and axes.
        where: File named in the problems.
    """
    file, bad, problems = sound_part(values, where)
    base = merged(nested({"data": file.data}), nested(file.fixed))
    for key, value in overrides.experiment.items():
        if key != VARIANT or VARIANT not in file.grid:
            base = with_value(base, key, value)
    grid, unknown = _grid(file, overrides)
    problems += unknown
    wrong = [one for one in _problems(base, where) if "data" not in bad or not _tells_of_missing_data(one)]
    wrong += [problem for key, axis in grid.items() for problem in _axis_problems(base, key, axis, where)]
    search = without(file.search, overrides.experiment)
    wrong += [one for key in search for one in _searched_problems(base, key, search[key], where)]
    if file.search or "search" not in bad:  # where nothing of it is sound, what it lacks is told already
        wrong += search_problems(file, search, grid, base, where)
    wrong += conflicts(grid.get(VARIANT, {}), [key for key in grid if key != VARIANT], where)
    named, unfit = _conditions(base, grid, where)
    # A condition that cannot be read has no news where its base or one of its values is bad already.
    problems += wrong or ([] if "data" in bad else unfit)
    problems += [] if wrong else same_settings(named, where)
    variants, conditions = tuple(name for name, _ in named), tuple(condition for _, condition in named)
    space = None if problems else make_search(file, search, grid, conditions, variants)
    return Reading(file, bad, base, grid, conditions, variants, tuple(dict.fromkeys(problems)), space)


def _changed_axis(grid: Mapping[str, Any], axis: str, value: Any) -> dict[str, Any]:
    place = axis.removeprefix(f"{VARIANT}.")
    variants = grid.get(VARIANT) or {}
    if place == axis or not isinstance(variants, Mapping):
        return {axis: value}
    return {VARIANT: with_variant_value(variants, place, value)}


def _grid(file: SpaceFile, overrides: Overrides) -> tuple[dict[str, Any], list[Problem]]:
    """The axes that overrides leave, and what is wrong with the choice of variants."""
    taken = overrides.experiment
    problems: list[Problem] = []
    grid: dict[str, Any] = {
        key: axis for key, axis in file.grid.items() if key == VARIANT or key not in taken
    }
    if VARIANT in grid:
        grid[VARIANT] = flat_variants(grid[VARIANT], taken)
        if VARIANT in taken:
            where = f"--set {VARIANT}={taken[VARIANT]}"
            grid[VARIANT], problems = chosen_variants(grid[VARIANT], taken[VARIANT], where)
    return grid, problems


def _tells_of_missing_data(problem: Problem) -> bool:
    return problem.what.startswith("missing key 'data")


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


def _searched_problems(base: Mapping[str, Any], key: str, one: Distribution, where: str) -> list[Problem]:
    """Both ends of a range or all choices, each tried where the field applies; and when that is."""
    problems = []
    for name, allowed in one.when.items():
        tried = [with_value(base, name, value) for value in allowed]
        problems += _new_problems(base, tried, where, f"search.{key}.when")
        base = tried[0] if tried else base
    return problems + _new_problems(
        base, (with_value(base, key, value) for value in one.probes), where, "search"
    )


def _new_problems(
    base: Mapping[str, Any], tried: Iterable[Mapping[str, Any]], where: str, prefix: str
) -> list[Problem]:
    """Every value is tried on its own; the base's own problems are told once, without it."""
    of_base = _problems(base, where, prefix)
    return [
        problem for values in tried for problem in _problems(values, where, prefix) if problem not in of_base
    ]


def _conditions(
    base: Mapping[str, Any], grid: Mapping[str, Any], where: str
) -> tuple[list[tuple[str | None, ExperimentConfig]], list[Problem]]:
    """Variant and experiment of every combination that is valid, and the problems of the others."""
    conditions: list[tuple[str | None, ExperimentConfig]] = []
    problems: list[Problem] = []
    for variant, values in _combinations(base, grid):
        try:
            conditions.append((variant, parse(EXPERIMENT, values, where)))
        except InputError as error:
            problems += error.problems
    return conditions, problems


def _combinations(
    base: Mapping[str, Any], grid: Mapping[str, Any]
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        variant = chosen.pop(VARIANT, None)
        condition = merged(base, nested(grid[VARIANT][variant])) if variant is not None else dict(base)
        for key, value in chosen.items():
            condition = with_value(condition, key, value)
        yield variant, condition
