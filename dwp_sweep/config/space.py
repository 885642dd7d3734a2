"""Search-space files: YAML to the conditions of a sweep, every bad key of the file reported at once.

``data`` and ``fixed`` (nested or dotted) make the base experiment, ``grid`` (dotted key -> values) its
cartesian product of conditions, ``smoke`` shrinks both. Knows nothing of nodes.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from dwp_sweep.config.experiment import EXPERIMENT, ExperimentConfig
from dwp_sweep.config.nested import merged, nested, with_value
from dwp_sweep.config.resources import Resources
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.stages import STAGES
from dwp_sweep.strict import StrictModel, parse

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-4`` (no dot) as text; nobody means that."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class SpaceFile(StrictModel):
    """The top level of a search-space file.

    Attributes:
        name: Of the sweep; the file's stem by default.
        data: ``source`` and ``target``.
        fixed: Values that all conditions share.
        grid: Dotted key -> list of values.
        resources: Stage -> what one of its trials asks for.
        max_failures: How often a node whose worker was lost is tried again.
        smoke: Changes to all of the above for a quick look.
    """

    name: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    resources: dict[str, Resources] = Field(default_factory=dict)
    max_failures: int = Field(2, ge=0)
    smoke: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """A validated search space.

    Attributes:
        name: Of the sweep.
        conditions: Every experiment of the grid, in the grid's order.
        resources: By stage; every stage is there.
        max_failures: How often a node whose worker was lost is tried again.
        file: Named in messages.
        settings: Base and grid as plain values, overrides and smoke scale applied.
    """

    name: str
    conditions: tuple[ExperimentConfig, ...]
    resources: Mapping[str, Resources]
    max_failures: int
    file: str
    settings: Mapping[str, Any]


def load_space(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), smoke: bool = False
) -> Space:
    """Read and validate a search space.

    Args:
        source: A YAML file, or its content as a mapping (then with ``name``).
        overrides: ``key=value`` texts; the value is YAML. A dotted key of the experiment
            (``target.lr=1e-4``, ``data.source.root=...``) takes the place of the file's value or grid
            axis; a key of the file itself (``name``, ``grid.train_size``, ``resources.target.gpu``) too.
        smoke: Apply the file's ``smoke`` section; the sweep's name then ends in ``-smoke``.

    Raises:
        InputError: With every problem of the file.
    """
    where, values = _read(source)
    values = _apply_smoke(values, where) if smoke else values
    values, direct = _apply_overrides(values, overrides)
    file = parse(SpaceFile, {key: value for key, value in values.items() if value is not None}, where)
    name = _sweep_name(file, source, where) + ("-smoke" if smoke else "")
    base = merged(nested({"data": file.data}), nested(file.fixed))
    for key, value in direct.items():
        base = with_value(base, key, value)
    grid = {key: axis for key, axis in file.grid.items() if key not in direct}
    _check(file, base, grid, where)
    conditions = tuple(_condition(base, grid, values, where) for values in itertools.product(*grid.values()))
    resources = {stage: file.resources.get(stage, Resources()) for stage in STAGES}
    settings = {"file": where, "fixed": base, "grid": grid, "n_conditions": len(conditions)}
    return Space(name, conditions, resources, file.max_failures, where, settings)


def _read(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(source, Mapping):
        return "the search space", dict(source)
    path = Path(source)
    if not path.is_file():
        raise InputError(Problem(str(path), "no such search-space file", _nearby(path)))
    try:
        values = yaml.load(path.read_text(), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(Problem(str(path), f"is no YAML: {' '.join(str(error).split())}")) from None
    if values is None:
        raise InputError(Problem(str(path), "is empty", "it needs at least 'data' and 'grid'"))
    if not isinstance(values, dict):
        raise InputError(Problem(str(path), f"holds a {type(values).__name__}, not keys with values"))
    return str(path), values


def _nearby(path: Path) -> str:
    names = sorted(item.name for item in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    if close:
        return f"did you mean {path.parent / close[0]}?"
    return f"{path.parent} holds {', '.join(names)}" if names else "give the path of a YAML file"


def _apply_smoke(values: dict[str, Any], where: str) -> dict[str, Any]:
    smoke = values.get("smoke")
    if not smoke:
        raise InputError(Problem(where, "has no section 'smoke'", "run it without --smoke, or add one"))
    if not isinstance(smoke, dict):
        raise InputError(Problem(where, f"smoke = {smoke!r}: must be a mapping"))
    result = dict(values)
    for section, change in smoke.items():
        result[section] = _smaller(section, result.get(section), change)
    return result


def _smaller(section: str, old: Any, change: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(change, dict):
        return change
    # An axis of the grid keeps its dotted name and is replaced whole.
    return {**old, **change} if section == "grid" else merged(nested(old), nested(change))


def _apply_overrides(
    values: dict[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    direct: dict[str, Any] = {}
    for text in overrides:
        key, equals, raw = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(
                Problem(f"--set {text}", "is not of the form key=value", "e.g. --set target.lr=1e-4")
            )
        try:
            value = yaml.load(raw, _Loader)
        except yaml.YAMLError as error:
            raise InputError(
                Problem(f"--set {text}", f"the value is no YAML: {' '.join(str(error).split())}")
            ) from None
        head = key.split(".")[0]
        if head == "grid" and "." in key:
            values = {**values, "grid": {**(values.get("grid") or {}), key.removeprefix("grid."): value}}
        elif head in SpaceFile.model_fields and head != "data":
            values = with_value(values, key, value)
        else:
            direct[key] = value
    return values, direct


def _sweep_name(file: SpaceFile, source: str | Path | Mapping[str, Any], where: str) -> str:
    name = file.name or (Path(source).stem if not isinstance(source, Mapping) else "")
    if not _NAME.match(name):
        raise InputError(
            Problem(where, f"name = {name!r}", "letters, digits, '.', '_' and '-' only; up to 100")
        )
    return name


def _check(file: SpaceFile, base: Mapping[str, Any], grid: Mapping[str, list[Any]], where: str) -> None:
    """All problems of base, axes and resources together; every value of an axis is tried on its own."""
    problems = _problems(base, where)
    for key, axis in grid.items():
        if not axis:
            problems.append(Problem(where, f"grid.{key} is empty", "give at least one value"))
        for value in axis:
            problems += _problems(with_value(base, key, value), where)
    for stage in file.resources:
        if stage not in STAGES:
            problems.append(
                Problem(where, f"unknown key 'resources.{stage}'", "stages are " + ", ".join(STAGES))
            )
    if problems:
        raise InputError(dict.fromkeys(problems))


def _problems(values: Mapping[str, Any], where: str) -> list[Problem]:
    try:
        parse(EXPERIMENT, values, where)
    except InputError as error:
        return list(error.problems)
    return []


def _condition(
    base: Mapping[str, Any], grid: Mapping[str, Any], values: tuple[Any, ...], where: str
) -> ExperimentConfig:
    condition = dict(base)
    for key, value in zip(grid, values, strict=True):
        condition = with_value(condition, key, value)
    return parse(EXPERIMENT, condition, where)
