"""A search space becomes a sweep: target nodes plus all that they need, equal keys being one node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from dwp_sweep.config.datasets import prepare_datasets
from dwp_sweep.config.experiment import ExperimentConfig
from dwp_sweep.config.graph import GraphBuilder, upstream_problems
from dwp_sweep.config.node import Node
from dwp_sweep.config.resources import BudgetConfig, ResourcesConfig
from dwp_sweep.config.search.graph import Resolve, asked_conditions, resolver
from dwp_sweep.config.search.inactive import inactive_parameters
from dwp_sweep.config.search.space import SearchSpace
from dwp_sweep.config.space import Space
from dwp_sweep.errors import InputError, Problem


@dataclass(frozen=True)
class Sweep:
    """What is to be built.

    Attributes:
        name: Identity of the sweep.
        nodes: By key, parents before children.
        targets: Keys of the target nodes, in the order of the grid; of a search those that were asked for.
        resources: What a trial of each stage asks for.
        settings: The search space as plain values, for people and records.
        max_failures: How often a node whose worker was lost is tried again.
        warnings: What is legal about the data, but worth a look.
        search: What is searched for; nodes and targets then grow with every configuration.
        budget: When nothing new is started any more.
        resolve: Of a search: values by dotted key and the place of a condition in the grid -> the target
            node, which joins ``nodes`` with all that it needs.
        fresh: Of a search: makes the same sweep without nodes, to try values on without asking for them.
    """

    name: str
    nodes: Mapping[str, Node]
    targets: Sequence[str]
    resources: Mapping[str, ResourcesConfig]
    settings: Mapping[str, Any] = field(default_factory=dict)
    max_failures: int = 2
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
        fetch: Turns a ``runs:/<run id>`` of something brought into a local folder.

    Raises:
        InputError: With all problems of the data and of what is brought.
    """
    cache = storage / "cache"
    conditions = asked_conditions(space.conditions, space.search)
    upstream = upstream_problems(conditions, cache, fetch)
    data = prepare_datasets(conditions, storage, progress, upstream)
    named = list(zip(space.conditions, space.variants, strict=True))
    if not named:
        raise InputError(
            Problem(space.file, "the grid holds no condition", "give every axis at least one value")
        )

    def resolved() -> Sweep:
        return _resolved(space, GraphBuilder(data.datasets, cache, fetch), named, data.warnings)

    sweep = resolved()
    if space.search is None:
        return sweep
    tried = resolved()
    idle = inactive_parameters(space.search, tried.resolve, space.file) if tried.resolve else []
    return replace(sweep, fresh=resolved, warnings=(*sweep.warnings, *idle))


def _resolved(
    space: Space,
    builder: GraphBuilder,
    named: Sequence[tuple[ExperimentConfig, str | None]],
    warnings: tuple[str, ...],
) -> Sweep:
    asked: list[str] = []
    resolve = resolver(builder, named, asked, space.file) if space.search else None
    keys = [] if space.search else [builder.target(condition, variant).key for condition, variant in named]
    return Sweep(
        name=space.name,
        nodes=builder.nodes,
        targets=asked if space.search else tuple(dict.fromkeys(keys)),
        resources=space.resources,
        settings=space.settings,
        max_failures=space.max_failures,
        warnings=(*warnings, *(_twins(keys, space.variants) if keys else ())),
        search=space.search,
        budget=space.budget,
        resolve=resolve,
    )


def _twins(keys: Sequence[str], variants: Sequence[str | None]) -> list[str]:
    """Variants that differ only in what their method does not read: legal, and seldom meant."""
    runs: dict[str, set[str]] = {}
    for key, variant in zip(keys, variants, strict=True):
        if variant is not None:
            runs.setdefault(variant, set()).add(key)
    return [
        f"variants {first!r} and {second!r} are the same runs: no stage reads what tells them apart"
        for first, second in combinations(runs, 2)
        if runs[first] == runs[second]
    ]
