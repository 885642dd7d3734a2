"""``--set key=value`` texts, and what they change: keys of the file itself, or keys of the experiment.

Beside search-space files, which apply them. Knows nothing of which keys there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dwp_sweep.config.nested import with_value
from dwp_sweep.config.variants import VARIANT, with_variant_value
from dwp_sweep.config.yaml_text import read_yaml
from dwp_sweep.errors import InputError, Problem


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


def _changed_axis(grid: Mapping[str, Any], axis: str, value: Any) -> dict[str, Any]:
    place = axis.removeprefix(f"{VARIANT}.")
    variants = grid.get(VARIANT) or {}
    if place == axis or not isinstance(variants, Mapping):
        return {axis: value}
    return {VARIANT: with_variant_value(variants, place, value)}


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
            found = read_yaml(raw, f"--set {text}")
        except InputError as error:
            problems += error.problems
            continue
        problems += found.problems
        (own if key.split(".")[0] in own_keys else experiment)[key] = found.values
    return Overrides(own, experiment, tuple(problems))
