"""The values of a search space: the conditions that they mean, and all of their problems.

`dwp_sweep.config.space` reads the values of a file at full and at smoke scale by this module. Bad parts are
left out and the rest is still checked, so that all problems are reported at once.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dwp_sweep.config.ensembles import by_fold, ensemble_problems
from dwp_sweep.config.experiment import EXPERIMENT, ExperimentConfig
from dwp_sweep.config.plain_values import merged, nested, with_value, without
from dwp_sweep.config.search.checks import search_problems
from dwp_sweep.config.search.definition import SearchSpace, make_search
from dwp_sweep.config.search.distribution import Distribution
from dwp_sweep.config.sections import ObjectiveConfig, SpaceFile
from dwp_sweep.config.variants import (
    VARIANT,
    chosen_variants,
    conflicts,
    flat_variants,
    same_settings,
    variant_problems,
)
from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.strict import parse

_VOXEL_GRID = ("orientation", "spacing_mm", "shape", "crop_foreground")
"""Settings of a target's preprocessing that decide which voxels are scored."""
MAX_CONDITIONS = 50_000
"""Combinations of the grid's axes."""


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


def read_values(values: Mapping[str, Any], taken: Mapping[str, Any], where: str) -> Reading:
    """Read plain values of a search space; problems are returned, not raised.

    Args:
        values: Of the file, its own keys overridden already.
        taken: Overrides: dotted key of the experiment -> the value in place of the file's value or axis.
        where: File named in the problems.
    """
    file, bad, problems = _sound_part(values, where)
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
    if file.search:
        wrong += search_problems(file, search, grid, base, where)
    elif "search" not in bad:  # a search without a sound field is reported already
        fix = "name fields under search, or leave it out"
        wrong += [
            Problem(where, f"{name} is given, and nothing is searched for", fix)
            for name in ("searcher", "objective", "scheduler")
            if name in file.model_fields_set
        ]
    if VARIANT in grid:
        wrong += conflicts(grid[VARIANT], [key for key in grid if key != VARIANT], where)
    too_many = _too_many(grid, where)
    wrong += too_many
    named, unfit = ([], []) if too_many else _conditions(base, grid, where)
    # A condition that cannot be read adds nothing where its base or one of its values is bad already.
    problems += wrong or ([] if "data" in bad else unfit)
    if VARIANT in grid and not wrong:
        problems += same_settings(named, where)
    variants, conditions = tuple(name for name, _ in named), tuple(condition for _, condition in named)
    problems += _voxel_grid_problems(conditions, where)
    problems += ensemble_problems(file.ensemble, conditions, bool(file.search), where)
    space = make_search(file, search, grid, conditions, variants) if search and not problems else None
    return Reading(file, bad, base, grid, conditions, variants, tuple(dict.fromkeys(problems)), space)


def _voxel_grid_problems(conditions: Sequence[ExperimentConfig], where: str) -> list[Problem]:
    """Scans of one target on several voxel grids: Dice differs by the grid, and the best one would win."""
    seen: dict[tuple[DatasetConfig, str], dict[str, None]] = {}
    for target in (condition.data.target for condition in conditions):
        same_scans = target.model_copy(update={"preprocess": PreprocessConfig()})
        for name in _VOXEL_GRID:
            value = json.dumps(getattr(target.preprocess, name))
            seen.setdefault((same_scans, name), {})[value] = None
    fix = "give each value a sweep of its own, and compare predictions on the scans' own grid"
    return [
        Problem(
            where,
            f"data.target.preprocess.{name} takes {len(values)} values ({', '.join(values)}): "
            "validation scores on different voxel grids cannot be compared",
            fix,
        )
        for (_, name), values in seen.items()
        if len(values) > 1
    ]


def _sound_part(values: Mapping[str, Any], where: str) -> tuple[SpaceFile, frozenset[str], list[Problem]]:
    """The valid part of a file's own keys, so that the rest of the file can still be checked.

    Args:
        values: Plain values of the file.
        where: File named in the problems.

    Returns:
        The file without its bad keys, the top-level keys with something bad, and the problems.
    """
    sound: dict[str, Any] = {}
    bad: set[str] = set()
    problems: list[Problem] = []
    for key, piece in _pieces(values):
        if wrong := _piece_problems(key, piece, where):
            problems += wrong
            bad.add(key)
        else:
            sound = merged(sound, piece)
    return parse(SpaceFile, sound, where), frozenset(bad), problems


def _pieces(values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The smallest pieces that can be checked alone: a key, an axis, a variant, a searched field, a stage."""
    for key, value in values.items():
        if value is None and key in SpaceFile.model_fields:
            continue
        if key not in ("grid", "resources", "search") or not isinstance(value, Mapping):
            yield str(key), {str(key): value}
            continue
        for name, item in value.items():
            if name == VARIANT and isinstance(item, Mapping) and item:
                yield from ((key, {key: {name: {variant: part}}}) for variant, part in item.items())
            else:
                yield key, {key: {name: item}}


def _piece_problems(key: str, piece: dict[str, Any], where: str) -> list[Problem]:
    if key not in SpaceFile.model_fields and (fix := _right_place(key)):
        return [Problem(where, f"unknown key {key!r}", fix)]
    if key == "resources" and isinstance(piece[key], Mapping):
        unknown = [str(stage) for stage in piece[key] if stage not in STAGES]
        if unknown:
            what = f"unknown key 'resources.{unknown[0]}'"
            return [Problem(where, what, "stages are " + ", ".join(STAGES))]
    try:
        if key == "objective" and isinstance(piece[key], Mapping):
            parse(ObjectiveConfig, piece[key], where, key)
        parse(SpaceFile, piece, where)
    except InputError as error:
        return list(error.problems)
    problems = []
    for name, axis in (piece[key] if key == "grid" else {}).items():
        if name == VARIANT:
            problems += variant_problems(axis, where)
        elif not isinstance(axis, list):
            fix = f"named bundles of settings stand under grid.{VARIANT}" if isinstance(axis, Mapping) else ""
            what = f"grid.{name} = {json.dumps(axis)[:80]}: should be a list of values"
            problems.append(Problem(where, what, fix))
    return problems


def _right_place(key: str) -> str:
    head, _, rest = key.partition(".")
    if rest and head in SpaceFile.model_fields:
        return f"write it nested, as {head}: {{{rest}: ...}}"
    if head == VARIANT:
        return "write it under grid"
    return "write it under fixed or grid" if head in EXPERIMENT.model_fields else ""


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


def _too_many(grid: Mapping[str, Any], where: str) -> list[Problem]:
    """The problem with a grid of more combinations than a sweep can hold, which are counted and not made."""
    n_conditions = math.prod(len(axis) for axis in grid.values())
    if n_conditions <= MAX_CONDITIONS:
        return []
    axes = " x ".join(f"{name} {len(axis)}" for name, axis in grid.items())
    what = f"grid has {n_conditions:,} conditions ({axes}), and at most {MAX_CONDITIONS:,} are read"
    return [Problem(where, what, "give fewer values, or search over some of these fields")]


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
            conditions += [(variant, one) for one in by_fold(parse(EXPERIMENT, condition, where))]
        except InputError as error:
            problems += error.problems
    return conditions, problems
