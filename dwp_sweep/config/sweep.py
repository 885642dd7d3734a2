"""A search space becomes a sweep: target nodes and all nodes that they need. Equal keys are one node.

A search has no configuration at first: its sweep resolves suggested values into nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from dwp_sweep.config.datasets import prepare_datasets
from dwp_sweep.config.ensembles import ensemble_groups, single_warnings
from dwp_sweep.config.experiment import EXPERIMENT, ExperimentConfig
from dwp_sweep.config.graph import GraphBuilder, upstream_problems
from dwp_sweep.config.node import Node
from dwp_sweep.config.plain_values import with_value
from dwp_sweep.config.search.checks import inactive_parameters
from dwp_sweep.config.search.definition import Resolve, SearchSpace
from dwp_sweep.config.search.first_points import require_experiments
from dwp_sweep.config.sections import BudgetConfig, FailuresConfig, ResourcesConfig
from dwp_sweep.config.space import Space
from dwp_sweep.config.variants import asked_keys, equal_pairs
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import parse

_WHAT_IS_SCORED = (
    "layout", "root", "subjects", "labels", "phantom", "patients",
    "splits", "n_splits", "n_val", "n_test", "validation", "validation_share", "n_folds", "split_file",
)  # fmt: skip
"""Settings of a target's data set that decide which voxels are scored, and by which labels."""
_MAX_PROBES = 64
"""Up to so many combinations of choices are all checked for what they need upstream."""


@dataclass(frozen=True)
class Sweep:
    """What is to be built.

    Attributes:
        name: Identity of the sweep.
        nodes: By key, parents before children.
        targets: Keys of the target nodes, in the order of the grid, then of the ensembles; of a search those
            resolved so far.
        resources: What a trial of each stage requests.
        settings: The search space as plain values, for people and records.
        failures: What the run makes of failures and stalls.
        warnings: What is legal in the data, but suspicious.
        search: The search, if there is one; nodes and targets then grow with every configuration.
        budget: When the run starts no further node.
        resolve: Of a search: values by dotted key, the place of a condition in the grid and the number of the
            trial -> the target node, which joins ``nodes`` with all that it needs.
        fresh: Of a search: makes the same sweep without nodes, to try values without adding targets.
    """

    name: str
    nodes: Mapping[str, Node]
    targets: Sequence[str]
    resources: Mapping[str, ResourcesConfig]
    settings: Mapping[str, Any] = field(default_factory=dict)
    failures: FailuresConfig = field(default_factory=FailuresConfig)
    warnings: tuple[str, ...] = ()
    search: SearchSpace | None = None
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    resolve: Resolve | None = None
    fresh: Callable[[], Sweep] | None = None


def build_sweep(
    space: Space,
    storage: Path,
    progress: Callable[[str, int, int], None] | None = None,
    fetch: Callable[[str, str], Path] | None = None,
) -> Sweep:
    """Check the data, fingerprint it and resolve all nodes.

    Args:
        space: From `load_space`.
        storage: Root of the storage; phantom data and caches go under it.
        progress: Called with (what, done, total) while data are read.
        fetch: Turns the ``runs:/<run id>`` of an imported output into a local folder.

    Raises:
        InputError: With all problems of the data and of imported outputs.
    """
    cache = storage / "cache"
    conditions = asked_conditions(space.conditions, space.search)
    upstream = upstream_problems(conditions, cache, fetch)
    data = prepare_datasets(conditions, storage, progress, upstream)
    if not space.conditions:
        raise InputError(
            Problem(space.file, "the grid holds no condition", "give every axis at least one value")
        )

    warnings = (*data.warnings, *_different_scans(space.conditions))

    def resolved() -> Sweep:
        builder = GraphBuilder(data.datasets, cache, fetch, asked_keys(space.settings))
        return _resolved(space, builder, warnings)

    sweep = resolved()
    if space.search is None:
        return sweep
    resolve = resolved().resolve
    if resolve is not None:
        require_experiments(space.search, resolve, space.file)
    idle = inactive_parameters(space.search, resolve, space.file) if resolve else []
    return replace(sweep, fresh=resolved, warnings=(*sweep.warnings, *idle))


def asked_conditions(
    conditions: Sequence[ExperimentConfig], search: SearchSpace | None
) -> tuple[ExperimentConfig, ...]:
    """Conditions that cover all data and imported outputs that a search may need.

    Without a search these are the conditions themselves. With one they are every combination of its choices,
    since choices decide what is needed upstream and numbers never do. Where there are too many combinations,
    the choices are set one by one.
    """
    if search is None:
        return tuple(conditions)
    valid: dict[ExperimentConfig, None] = {}
    for study in search.conditions:
        for values in _choices(search, study.values):
            for place in study.members:
                try:
                    valid[_with_values(conditions[place], values, "")] = None
                except InputError:
                    continue  # values that do not go together are reported when they are suggested
    if not valid:
        what = "no combination of the searched choices makes a valid experiment"
        raise InputError(Problem("search", what))
    return tuple(valid)


def _resolved(space: Space, builder: GraphBuilder, warnings: tuple[str, ...]) -> Sweep:
    sweep = partial(
        Sweep,
        name=space.name,
        nodes=builder.nodes,
        resources=space.resources,
        settings=space.settings,
        failures=space.failures,
        search=space.search,
        budget=space.budget,
    )
    named = list(zip(space.conditions, space.variants, strict=True))
    if space.search is None:
        keys = [builder.target(condition, variant).key for condition, variant in named]
        twins = _twins(keys, space.variants)
        groups = ensemble_groups(space.conditions, space.variants, space.ensemble)
        ensembles = [builder.ensemble(space.conditions, keys, group) for group in groups]
        single = single_warnings([len(node.parents) for node in ensembles], space.ensemble)
        targets = tuple(dict.fromkeys((*keys, *(node.key for node in ensembles))))
        return sweep(targets=targets, warnings=(*warnings, *twins, *single))
    found: list[str] = []
    known: set[str] = set()  # of the targets, for a quick look-up

    def resolve(values: Mapping[str, Any], place: int, trial: int | None = None) -> Node:
        condition, variant = named[place]
        node = builder.target(_with_values(condition, values, space.file), variant, trial)
        if node.key not in known:
            known.add(node.key)
            found.append(node.key)
        return node

    return sweep(targets=found, resolve=resolve, warnings=warnings)


def _different_scans(conditions: Sequence[ExperimentConfig]) -> list[str]:
    """A warning where the conditions score other scans or labels, which is legal for a study of just that."""
    targets = [condition.data.target for condition in conditions]
    values = {name: dict.fromkeys(getattr(target, name) for target in targets) for name in _WHAT_IS_SCORED}
    differ = [f"data.target.{name}" for name, different in values.items() if len(different) > 1]
    if not differ:
        return []
    return [
        f"the conditions differ in {', '.join(differ)}: they score other scans or labels, and the best of "
        "them is best by that too (give each value a sweep of its own)"
    ]


def _twins(keys: Sequence[str], variants: Sequence[str | None]) -> list[str]:
    """Warnings of variants that differ only in what their method does not read."""
    runs: dict[str, set[str]] = {}
    for key, variant in zip(keys, variants, strict=True):
        if variant is not None:
            runs.setdefault(variant, set()).add(key)
    return [
        f"variants {first!r} and {second!r} are the same runs: no stage reads what tells them apart"
        for first, second in equal_pairs({name: frozenset(keys) for name, keys in runs.items()})
    ]


def _choices(search: SearchSpace, given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Values of the searched choices, those alone that apply."""
    choices = {
        key: distribution.choices
        for key, distribution in search.distributions.items()
        if distribution.kind == "choice"
    }
    if math.prod(map(len, choices.values())) <= _MAX_PROBES:
        tried = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    else:
        tried = [{key: value} for key, values in choices.items() for value in values]
    for combination in tried:
        chosen: dict[str, Any] = {}
        for key, value in combination.items():
            if search.applies(key, {**given, **chosen}):
                chosen[key] = value
        yield chosen


def _with_values(condition: ExperimentConfig, values: Mapping[str, Any], where: str) -> ExperimentConfig:
    """A condition with suggested values in place of its own.

    Raises:
        InputError: The values do not go together.
    """
    plain = condition.model_dump(mode="json")
    for key, value in values.items():
        plain = with_value(plain, key, value)
    return parse(EXPERIMENT, plain, where, "search")
