"""The grid's axis ``variant``: named bundles of settings, for comparisons that are no cartesian product.

``variant: {RI: {method: random_init}, DWP he: {method: deep_weight_prior, dwp.init: he}}`` is one axis with
two values. A name labels the runs of its conditions and is part of no node's key.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from dwp_sweep.config.plain_values import clash_problems, flat, overlap, without
from dwp_sweep.errors import Problem, did_you_mean
from dwp_sweep.strict import short_json

VARIANT = "variant"
"""Name of the axis."""
SEPARATOR = " | "
"""Between the names of a node that several variants share."""

_MAX_CHARS = 60


def asked_keys(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted keys that a sweep asks about: the axes of its grid but the variants, and what it searches for.

    Args:
        settings: The search space as plain values (`Space.settings`); others have no such key.
    """
    axes, searched = settings.get("grid") or {}, settings.get("search") or {}
    return tuple(dict.fromkeys(str(key) for key in (*axes, *searched) if key != VARIANT))


def variant_problems(axis: Any, where: str) -> list[Problem]:
    """What is wrong with the form of the axis: no mapping, a bad name, no settings, settings given twice.

    Args:
        axis: As the file has it.
        where: File named in the problems.
    """
    if not isinstance(axis, Mapping):
        what = f"grid.{VARIANT} = {short_json(axis)}: should map names to settings"
        return [Problem(where, what, f"e.g. {VARIANT}: {{RI: {{method: random_init}}}}")]
    if not axis:
        return [Problem(where, f"grid.{VARIANT} is empty", "give at least one variant, or leave it out")]
    problems = []
    for name, settings in ((str(key), value) for key, value in axis.items()):
        is_text = bool(name) and name == name.strip() and name.isprintable()
        if not is_text or len(name) > _MAX_CHARS or "|" in name:
            fix = f"1 to {_MAX_CHARS} characters, no '|' and no space around them"
            problems.append(Problem(where, f"grid.{VARIANT}: {name!r} is no name of a variant", fix))
        place = f"grid.{VARIANT}.{name}"
        if isinstance(settings, Mapping):
            problems += clash_problems(settings, place, where)
        else:
            what = f"{place} = {short_json(settings)}: should be settings"
            problems.append(Problem(where, what, "{} takes the fixed ones as they are"))
    return problems


def flat_variants(axis: Mapping[str, Mapping[str, Any]], taken: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Every variant's settings by dotted key, without overridden ones.

    Args:
        axis: Name -> settings, nested or dotted.
        taken: Dotted keys of overrides.
    """
    taken = tuple(taken)
    return {name: without(flat(settings), taken) for name, settings in axis.items()}


def conflicts(axis: Mapping[str, Mapping[str, Any]], others: Iterable[str], where: str) -> list[Problem]:
    """Settings that both a variant and another axis give, where their order would decide."""
    others, keep_one = tuple(others), "keep one of the two"
    return [
        Problem(where, f"grid.{VARIANT}.{name} sets {key!r}, and grid.{other} does too", keep_one)
        for name, settings in axis.items()
        for key in settings
        for other in others
        if overlap(key, other)
    ]


def chosen_variants(axis: Any, wanted: Any, where: str) -> tuple[Any, list[Problem]]:
    """The variants of some names, in the order of the names.

    Args:
        axis: Name -> settings; anything else stays as it is, and is reported as the file's problem.
        wanted: A name or a list of names.
        where: Option or file named in the problems.
    """
    if not isinstance(axis, Mapping):
        return axis, []
    names = [str(name) for name in (wanted if isinstance(wanted, list) else [wanted])]
    known = {str(name): settings for name, settings in axis.items()}
    all_names = "variants are " + ", ".join(known)
    problems = [
        Problem(where, f"no variant {name!r}", did_you_mean(name, known, all_names))
        for name in names
        if name not in known
    ]
    return {name: known[name] for name in names if name in known} or axis, problems


def with_variant_value(axis: Mapping[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy of the axis with one variant given whole (``NAME``) or one of its settings (``NAME.key``).

    Names may contain dots: the longest known one that fits is taken.
    """
    names = [str(name) for name in axis]
    fitting = [name for name in names if place == name or place.startswith(f"{name}.")]
    name = max(fitting, key=len, default=place.partition(".")[0])
    key = place[len(name) + 1 :]
    result = {str(known): settings for known, settings in axis.items()}
    if not key:
        return result | {name: value}
    old = result.get(name)
    kept = without(flat(old), [key]) if isinstance(old, Mapping) else {}
    return result | {name: {**kept, key: value}}


def same_settings(named: Sequence[tuple[str | None, Any]], where: str) -> list[Problem]:
    """Variants with equal settings.

    Args:
        named: Variant and experiment of each condition.
        where: File named in the problems.
    """
    by_name: dict[str, list[Any]] = {}
    for name, condition in named:
        if name is not None:
            by_name.setdefault(name, []).append(condition)
    fix = f"drop one of the two, or choose with --set {VARIANT}=NAME"
    twins = equal_pairs({name: tuple(conditions) for name, conditions in by_name.items()})
    return [
        Problem(where, f"grid.{VARIANT}: {first!r} and {second!r} are the same settings", fix)
        for first, second in twins
    ]


def equal_pairs(values: Mapping[str, Hashable]) -> list[tuple[str, str]]:
    """Names with equal values, each with the first name that has this value."""
    first: dict[Hashable, str] = {}
    return [
        (first[value], name) for name, value in values.items() if first.setdefault(value, name) is not name
    ]
