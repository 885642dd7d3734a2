"""Search-space files: YAML to the conditions of a sweep, every problem of the file reported at once.

``data`` and ``fixed`` (nested or dotted) make the base experiment, ``grid`` (dotted key -> values,
``variant`` -> named bundles of settings) its cartesian product of conditions, ``smoke`` shrinks both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dwp_sweep.config.experiment import ExperimentConfig
from dwp_sweep.config.plain_values import (
    YamlText,
    clash_problems,
    flat,
    merged,
    nested,
    read_yaml,
    require_bounded,
    with_value,
)
from dwp_sweep.config.reading import Reading, read_values
from dwp_sweep.config.search.checks import out_of_reach
from dwp_sweep.config.search.definition import SearchSpace
from dwp_sweep.config.search.first_points import unmet_problems
from dwp_sweep.config.sections import (
    BudgetConfig,
    FailuresConfig,
    ResourcesConfig,
    SearcherConfig,
    SpaceFile,
    TrackingConfig,
)
from dwp_sweep.config.shipped import space_path
from dwp_sweep.config.variants import VARIANT, with_variant_value
from dwp_sweep.errors import InputError, Problem, nearest_names
from dwp_sweep.passwords import without_secrets
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.strict import shortened

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")

_MAX_BYTES = 1_000_000
_NESTED_SECTIONS = ("data", "fixed", "resources", "failures")


@dataclass(frozen=True)
class Space:
    """A validated search space.

    Attributes:
        name: Of the sweep.
        conditions: Every experiment of the grid, in the grid's order.
        variants: The variant that each condition belongs to; None where the grid has no such axis.
        resources: By stage; every stage is there.
        failures: What the run makes of failures and stalls.
        file: Named in messages.
        settings: Base and grid as plain values, overrides and smoke scale applied.
        search: The search in every condition; None: there is none.
        budget: When the run starts no further node.
        ensemble: Axes over whose networks the mean is scored.
    """

    name: str
    conditions: tuple[ExperimentConfig, ...]
    variants: tuple[str | None, ...]
    resources: Mapping[str, ResourcesConfig]
    failures: FailuresConfig
    file: str
    settings: Mapping[str, Any]
    search: SearchSpace | None = None
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    ensemble: tuple[str, ...] = ()


def load_space(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), smoke: bool = False
) -> Space:
    """Read and validate a search space.

    Args:
        source: A YAML file, or its content as a mapping (then with ``name``). A path below
            ``search_spaces`` that does not exist means the file of that name that comes with the package.
        overrides: ``key=value`` texts; the value is YAML. A dotted key of the experiment
            (``target.lr=1e-4``, ``data.source.root=...``) replaces the file's value or grid axis, or a
            setting in every variant; a key of the file itself (``name``,
            ``grid.train_size``, ``grid.variant.NAME.target.lr``, ``resources.target.gpu``) too.
            ``variant=NAME`` or ``variant=[NAME, NAME]`` keeps only these.
        smoke: Apply the file's ``smoke`` section; the sweep's name then ends in ``-smoke``.

    Raises:
        InputError: With every problem of the file and of the overrides.
    """
    where = "the search space" if isinstance(source, Mapping) else str(source)
    if isinstance(source, Mapping):
        require_bounded(source, where)
    text = YamlText(dict(source), ()) if isinstance(source, Mapping) else _read(Path(source))
    changes = _read_overrides(overrides, SpaceFile.model_fields.keys() - {"data"})
    problems = [*changes.problems, *text.problems, *_clashes(text.values, where)]
    values = dict(text.values)
    for section in _NESTED_SECTIONS:
        if isinstance(values.get(section), Mapping):
            values[section] = nested(values[section])
    has_smoke = isinstance(values.get("smoke"), Mapping) and bool(values["smoke"])
    if smoke and values.get("smoke") in (None, {}):
        problems.append(Problem(where, "has no section 'smoke'", "run it without --smoke, or add one"))
    scaled = _smaller(values) if smoke and has_smoke else values
    reading = read_values(changes.applied_to(scaled), changes.experiment, where)
    problems += reading.problems
    if reading.search is not None:
        problems += unmet_problems(reading.search, where)
    if reading.search is not None and not smoke:  # a small scale may leave out what a when requires
        problems += out_of_reach(reading.search, _changed(changes, reading), where)
    if has_smoke and not smoke:
        # What only --smoke would meet; without overrides, which may not fit both scales.
        small = read_values(_smaller(values), {}, f"{where} with --smoke").problems
        full = read_values(values, {}, where).problems if small else ()
        known = {(problem.what, problem.fix) for problem in full}
        problems += [problem for problem in small if (problem.what, problem.fix) not in known]
    name = reading.file.name or ("" if isinstance(source, Mapping) else Path(source).stem)
    if not _NAME.match(name) and "name" not in reading.bad:
        fix = "letters, digits, '.', '_' and '-' only; up to 100"
        problems.append(Problem(where, f"name = {name!r}", fix))
    if problems:
        raise InputError(dict.fromkeys(problems))
    file = reading.file
    return Space(
        name=name + ("-smoke" if smoke else ""),
        conditions=reading.conditions,
        variants=reading.variants,
        resources={stage: file.resources.get(stage, ResourcesConfig()) for stage in STAGES},
        failures=file.failure_policy,
        file=where,
        settings=_settings(reading, where),
        search=reading.search,
        budget=file.budget,
        ensemble=file.ensemble,
    )


def name_of_file(path: Path) -> str:
    """The name of the sweep of a search-space file: its own, or the file's stem.

    Raises:
        InputError: There is no such file, or it is no YAML.
    """
    name = _read(path).values.get("name")
    return name if isinstance(name, str) else path.stem


@dataclass(frozen=True)
class _Overrides:
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


def _read_overrides(texts: Sequence[str], own_keys: Collection[str]) -> _Overrides:
    """Parse ``key=value`` texts; the value is YAML.

    Args:
        texts: As given after ``--set``.
        own_keys: Top-level keys of a file; a key that begins with another name belongs to the experiment.
    """
    own: dict[str, Any] = {}
    experiment: dict[str, Any] = {}
    problems: list[Problem] = []
    for text in texts:
        where = f"--set {shortened(text)}"
        key, equals, raw = text.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            problems.append(Problem(where, "is not of the form key=value", "e.g. --set target.lr=1e-4"))
            continue
        try:
            require_bounded({key: raw}, where)
            value = read_yaml(raw, where)
        except InputError as error:
            problems += error.problems
            continue
        problems += value.problems
        (own if key.split(".")[0] in own_keys else experiment)[key] = value.values
    return _Overrides(own, experiment, tuple(problems))


def _changed(changes: _Overrides, reading: Reading) -> set[str]:
    """Keys of the experiment whose values overrides may have changed."""
    own = {key.partition(".")[2] for key in changes.own if key.startswith(("grid.", "fixed."))}
    keys = {*changes.experiment, *own}
    if any(key.partition(".")[0] == VARIANT for key in keys):
        keys |= {key for settings in reading.file.grid.get(VARIANT, {}).values() for key in flat(settings)}
    return keys


def _settings(reading: Reading, where: str) -> dict[str, Any]:
    n_conditions = len(reading.conditions)
    settings = {"file": where, "fixed": reading.base, "grid": reading.grid, "n_conditions": n_conditions}
    if search := reading.search:
        settings |= {
            "search": {
                key: distribution.model_dump(mode="json", exclude_defaults=True)
                for key, distribution in search.distributions.items()
            },
            "searcher": _plain_searcher(search.searcher),
            "objective": [objective.model_dump(mode="json") for objective in search.objectives],
            "scheduler": search.scheduler.model_dump(mode="json"),
        }
    if reading.file.ensemble:
        settings |= {"ensemble": list(reading.file.ensemble)}
    if (budget := reading.file.budget).is_limited:
        settings |= {"budget": budget.model_dump(mode="json", exclude_none=True)}
    if (tracking := reading.file.tracking) != TrackingConfig():
        settings |= {"tracking": tracking.model_dump(mode="json")}
    return settings


def _plain_searcher(searcher: SearcherConfig) -> dict[str, Any]:
    """Without the address of a database that has a password in it."""
    url = searcher.storage
    shown = set() if url is not None and without_secrets(url) == url else {"storage"}
    return searcher.model_dump(mode="json", exclude=shown)


def _read(path: Path) -> YamlText:
    try:
        file = space_path(path)
        if (n_bytes := file.stat().st_size) > _MAX_BYTES:
            what = f"is no search-space file: it has {n_bytes:,} bytes, and at most {_MAX_BYTES:,} are read"
            raise InputError(Problem(str(path), what, "give the path of a YAML file"))
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        close = nearest_names(path.name, _yaml_files(path.parent))
        advice = _listed(path.parent) or "give the path of a YAML file"
        fix = f"did you mean {path.parent / close[0]}?" if close else advice
        raise InputError(Problem(str(path), "no such search-space file", fix)) from None
    except IsADirectoryError:
        fix = _listed(path) or "give the path of a YAML file"
        raise InputError(Problem(str(path), "is a folder, not a search-space file", fix)) from None
    except OSError as error:
        raise InputError(Problem(str(path), f"cannot be read: {error.strerror}", "check the path")) from None
    except ValueError as error:
        raise InputError(Problem(str(path), f"is no YAML: {error}")) from None
    content = read_yaml(text, str(path))
    if content.values is None:
        raise InputError(Problem(str(path), "is empty", "it needs at least 'data' and 'grid'"))
    if not isinstance(content.values, dict):
        kind = type(content.values).__name__
        raise InputError(Problem(str(path), f"holds a {kind}, not keys with values"))
    return content


def _listed(folder: Path) -> str:
    names = _yaml_files(folder)
    return f"{folder} holds {', '.join(names)}" if names else ""


def _yaml_files(folder: Path) -> list[str]:
    folder = space_path(folder)
    return sorted(item.name for item in folder.glob("*.y*ml")) if folder.is_dir() else []


def _clashes(values: Mapping[str, Any], where: str) -> list[Problem]:
    smoke = values.get("smoke")
    places = {"": values, "smoke.": smoke if isinstance(smoke, Mapping) else {}}
    return [
        problem
        for place, sections in places.items()
        for name in _NESTED_SECTIONS
        if isinstance(section := sections.get(name), Mapping)
        for problem in clash_problems(section, f"{place}{name}", where)
    ]


def _smaller(values: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values with its ``smoke`` section applied."""
    result = dict(values)
    for section, change in values["smoke"].items():
        old = result.get(section)
        if not isinstance(old, Mapping) or not isinstance(change, Mapping):
            result[section] = change
        else:
            # An axis of the grid and a searched field keep their dotted names and are replaced whole.
            is_flat = section in ("grid", "search")
            result[section] = {**old, **change} if is_flat else merged(nested(old), nested(change))
    if isinstance(values.get("data"), Mapping) and isinstance(change := values["smoke"].get("data"), Mapping):
        full, small = nested(values["data"]), nested(change)
        for task, new in small.items():
            old = full.get(task)
            if isinstance(new, Mapping) and isinstance(old, Mapping):
                layout = old.get("layout")
                if new.get("layout", layout) != layout:  # no setting of the old scans holds for the new ones
                    result["data"][task] = new
    return result
