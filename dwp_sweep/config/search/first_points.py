"""Points that a search tries first, from ``searcher.try_first``: the paper's settings as trial 0, say.

A point may leave fields open, which the sampler then suggests. In a study whose condition does not fulfil a
field's ``when``, the points that give this field are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dwp_sweep.config.search.definition import Resolve, SearchCondition, SearchSpace
from dwp_sweep.config.search.distribution import Distribution
from dwp_sweep.config.sections import SearcherConfig
from dwp_sweep.errors import InputError, Problem, did_you_mean
from dwp_sweep.strict import short_json


def point_problems(
    searcher: SearcherConfig,
    search: Mapping[str, Distribution],
    taken: Collection[str],
    where: str,
) -> list[Problem]:
    """What is wrong with points by themselves: unknown fields, values that are never suggested, doubles.

    Args:
        searcher: Has the points.
        search: The searched fields.
        taken: Searched fields that are overridden: a point may still name them.
        where: File named in the problems.
    """
    problems, points = [], searcher.try_first
    if len(points) > searcher.n_trials:
        what = f"searcher.try_first has {len(points)} points, and searcher.n_trials is {searcher.n_trials}"
        problems.append(Problem(where, what, "give fewer points, or more trials"))
    for place, point in enumerate(points):
        name = f"searcher.try_first[{place}]"
        if not point:
            problems.append(
                Problem(where, f"{name} is empty", "give the value of at least one searched field")
            )
        elif point in points[:place]:
            twin = points.index(point)
            problems.append(Problem(where, f"{name} is the same as searcher.try_first[{twin}]", "drop one"))
        for key, value in point.items():
            if key not in search and key not in taken:
                known = f"searched fields are {', '.join(search)}"
                what = f"{name}.{key}: nothing searches for it"
                problems.append(Problem(where, what, f"{did_you_mean(key, search)} {known}".strip()))
            elif key in search and not search[key].holds(value):
                what = f"{name}.{key} = {short_json(value)}: search.{key} never suggests it"
                problems.append(Problem(where, what, f"it is {allowed_text(search[key])}"))
    return problems


def unmet_problems(search: SearchSpace, where: str) -> list[Problem]:
    """Fields of points whose ``when`` no study fulfils, given the other fields of the point.

    Args:
        search: A sound search.
        where: File named in the problems.
    """
    problems = []
    for place, point in enumerate(search.searcher.try_first):
        if any(_applies(search, study, point) for study in search.conditions):
            continue
        name = f"searcher.try_first[{place}]"
        unmet = [
            key for key in point if not any(_applies(search, s, point, [key]) for s in search.conditions)
        ]
        for key in unmet:
            wanted = " and ".join(
                f"{other} = {' or '.join(map(short_json, values))}"
                for other, values in search.distributions[key].when.items()
            )
            what = f"{name}.{key}: search.{key} applies only with {wanted}"
            problems.append(Problem(where, what, "give that in the same point, or leave the field out"))
        if not unmet:
            problems.append(Problem(where, f"{name}: no study has all of its fields together", "split it"))
    return problems


def points_of(search: SearchSpace, condition: SearchCondition) -> list[dict[str, Any]]:
    """The points that a study tries first: those whose fields all apply in its condition."""
    return [dict(point) for point in search.searcher.try_first if _applies(search, condition, point)]


def require_experiments(search: SearchSpace, resolve: Resolve, where: str) -> None:
    """Make sure that points without open fields are valid experiments.

    Args:
        search: A sound search.
        resolve: Of a sweep that is thrown away.
        where: File named in the problems.

    Raises:
        InputError: The values of a point do not go together.
    """
    problems = []
    for condition in search.conditions:
        for point in points_of(search, condition):
            place = search.searcher.try_first.index(point)
            try:
                values = search.configuration(condition.values, point.__getitem__)
                resolve(values, condition.members[0])
            except KeyError:
                continue  # a field is left open
            except InputError as error:
                name = f"searcher.try_first[{place}] makes no experiment"
                problems += [Problem(where, f"{name}: {one.what}", one.fix) for one in error.problems]
    if problems:
        raise InputError(dict.fromkeys(problems))


def allowed_text(field: Distribution) -> str:
    """``2 to 16 in steps of 2``, ``one of "a", "b"``."""
    if field.kind == "choice":
        return "one of " + ", ".join(map(short_json, field.choices))
    step = f" in steps of {field.step:g}" if field.step is not None else ""
    whole = ", a whole number" if field.kind == "int" and field.step is None else ""
    return f"{field.low:g} to {field.high:g}{step}{whole}"


def _applies(
    search: SearchSpace,
    condition: SearchCondition,
    point: Mapping[str, Any],
    keys: Collection[str] | None = None,
) -> bool:
    given = {**condition.values, **point}
    # A condition's value of a searched field says nothing about what will be suggested for it.
    given = {key: given[key] for key in given if key in point or key not in search.distributions}
    return all(search.applies(key, given) for key in (point if keys is None else keys))
