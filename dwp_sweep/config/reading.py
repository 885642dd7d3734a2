"""One reading of a search space's values: what they mean, and everything that is wrong with them.

Between the file, which is read at full and at smoke scale, and the space that comes of it. What is bad
is left out and the rest is still checked, so that nobody meets the problems one by one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dwp_sweep.config.experiment import EXPERIMENT, ExperimentConfig, method_problems
from dwp_sweep.config.nested import merged, nested, with_value
from dwp_sweep.config.overrides import Overrides
from dwp_sweep.config.space_file import SpaceFile, sound_part
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import parse


@dataclass(frozen=True)
class Reading:
    """What values mean.

    Attributes:
        file: The sound part of the file's own keys.
        bad: Top-level keys of which something was left out.
        base: Plain values that all conditions share, nested.
        grid: Axes: dotted key -> values.
        conditions: Those that are valid.
        problems: All, in the order of the file's sections.
    """

    file: SpaceFile
    bad: frozenset[str]
    base: Mapping[str, Any]
    grid: Mapping[str, list[Any]]
    conditions: tuple[ExperimentConfig, ...]
    problems: tuple[Problem, ...]

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
        base = with_value(base, key, value)
    grid = {key: axis for key, axis in file.grid.items() if key not in overrides.experiment}
    wrong = [one for one in _problems(base, where) if "data" not in bad or not _tells_of_missing_data(one)]
    wrong += [problem for key, axis in grid.items() for problem in _axis_problems(base, key, axis, where)]
    conditions, unfit = _conditions(base, grid, where)
    # A condition that cannot be read has no news where its base or one of its values is bad already.
    problems += wrong or ([] if "data" in bad else unfit)
    problems += [problem for condition in conditions for problem in method_problems(condition, where)]
    return Reading(file, bad, base, grid, conditions, tuple(dict.fromkeys(problems)))


def _tells_of_missing_data(problem: Problem) -> bool:
    return problem.what.startswith("missing key 'data")


def _problems(values: Mapping[str, Any], where: str, prefix: str = "") -> list[Problem]:
    try:
        parse(EXPERIMENT, values, where, prefix)
    except InputError as error:
        return list(error.problems)
    return []


def _axis_problems(base: Mapping[str, Any], key: str, axis: list[Any], where: str) -> list[Problem]:
    """Every value is tried on its own; the base's own problems are told once, without the axis."""
    if not axis:
        return [Problem(where, f"grid.{key} is empty", "give at least one value")]
    of_base = _problems(base, where, "grid")
    found = [one for value in axis for one in _problems(with_value(base, key, value), where, "grid")]
    return [problem for problem in found if problem not in of_base]


def _conditions(
    base: Mapping[str, Any], grid: Mapping[str, list[Any]], where: str
) -> tuple[tuple[ExperimentConfig, ...], list[Problem]]:
    conditions: list[ExperimentConfig] = []
    problems: list[Problem] = []
    for values in _combinations(base, grid):
        try:
            conditions.append(parse(EXPERIMENT, values, where))
        except InputError as error:
            problems += error.problems
    return tuple(conditions), problems


def _combinations(base: Mapping[str, Any], grid: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        condition = dict(base)
        for key, value in zip(grid, values, strict=True):
            condition = with_value(condition, key, value)
        yield condition
