"""A validated search: the distribution of each searched field, the objectives, and one study a condition.

`dwp_sweep.config.search.checks` finds its problems; the harness turns it into suggestions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dwp_sweep.config.experiment import ExperimentConfig
from dwp_sweep.config.node import Node
from dwp_sweep.config.plain_values import flat
from dwp_sweep.config.search.distribution import Distribution, among
from dwp_sweep.config.sections import ObjectiveConfig, SchedulerConfig, SearcherConfig, SpaceFile
from dwp_sweep.config.variants import VARIANT


@dataclass(frozen=True)
class SearchCondition:
    """One condition of the grid: one study.

    Attributes:
        name: ``train_size=5, method=fine_tune``; ``all`` where the grid has no axis but the repeats.
        members: Places of its experiments among the space's conditions, one for each repeat.
        values: What the grid and the fixed part give, by dotted key: decides which ``when:`` hold.
    """

    name: str
    members: tuple[int, ...]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class SearchSpace:
    """A validated search.

    Attributes:
        distributions: By dotted key; a key comes after those that its ``when`` names.
        objectives: One or several.
        searcher: How values are suggested, and how many configurations.
        scheduler: Early stopping; its kind is never None.
        conditions: The studies.
    """

    distributions: Mapping[str, Distribution]
    objectives: tuple[ObjectiveConfig, ...]
    searcher: SearcherConfig
    scheduler: SchedulerConfig
    conditions: tuple[SearchCondition, ...] = ()

    @property
    def over(self) -> tuple[str, ...]:
        """Axes whose values are repeats of one configuration."""
        return over_axes(self.objectives)

    def applies(self, key: str, values: Mapping[str, Any]) -> bool:
        """Whether a field is searched, given the values of the condition and of fields before it.

        A field that itself does not apply fulfils no ``when``, whatever value it has in the condition.
        """
        return all(
            name in values
            and among(values[name], allowed)
            and (name not in self.distributions or self.applies(name, values))
            for name, allowed in self.distributions[key].when.items()
        )

    def configuration(self, given: Mapping[str, Any], pick: Callable[[str], Any]) -> dict[str, Any]:
        """A value for every field that applies, in order.

        Args:
            given: Values of the condition.
            pick: The value of a field; called only for fields that apply with the values picked before.
        """
        values: dict[str, Any] = {}
        for key in self.distributions:
            if self.applies(key, {**given, **values}):
                values[key] = pick(key)
        return values


class Resolve(Protocol):
    """Turns suggested values into a target node."""

    def __call__(self, values: Mapping[str, Any], place: int, trial: int | None = None) -> Node:
        """The target node of a configuration.

        Args:
            values: Suggested values by dotted key.
            place: Of the condition in the grid.
            trial: Its number in its study, which becomes a label.

        Raises:
            InputError: The values do not go together.
        """


def make_search(
    file: SpaceFile,
    search: Mapping[str, Distribution],
    grid: Mapping[str, Any],
    conditions: Sequence[ExperimentConfig],
    variants: Sequence[str | None],
) -> SearchSpace:
    """The search of a file without problems."""
    objectives = file.objective or (ObjectiveConfig(),)
    scheduler = file.scheduler
    if scheduler.kind is None:
        is_reported = len(objectives) == 1 and objectives[0].epoch_metric is not None
        scheduler = scheduler.model_copy(update={"kind": "asha" if is_reported else "none"})
    return SearchSpace(
        distributions=in_order(search),
        objectives=objectives,
        searcher=file.searcher.model_copy(update={"try_first": _points(file.searcher, search)}),
        scheduler=scheduler,
        conditions=_studies(grid, over_axes(objectives), conditions, variants),
    )


def over_axes(objectives: Sequence[ObjectiveConfig]) -> tuple[str, ...]:
    """Axes whose values are repeats of one configuration."""
    return tuple(dict.fromkeys(axis for objective in objectives for axis in objective.over))


def in_order(search: Mapping[str, Distribution]) -> dict[str, Distribution]:
    """Fields after those that their ``when`` names; fields of a cycle are left out."""
    ordered: dict[str, Distribution] = {}
    while ready := [
        key
        for key, distribution in search.items()
        if key not in ordered and all(name in ordered or name not in search for name in distribution.when)
    ]:
        ordered |= {key: search[key] for key in ready}
    return ordered


def _studies(
    grid: Mapping[str, Any],
    over: Sequence[str],
    conditions: Sequence[ExperimentConfig],
    variants: Sequence[str | None],
) -> tuple[SearchCondition, ...]:
    """One study for each combination of the axes that are not averaged over."""
    axes = [axis for axis in grid if axis not in over]
    members: dict[str, list[int]] = {}
    given: dict[str, dict[str, Any]] = {}
    for place, (condition, variant) in enumerate(zip(conditions, variants, strict=True)):
        values = flat(condition.model_dump(mode="json"))
        shown = {axis: variant if axis == VARIANT else _value(values, axis) for axis in axes}
        name = ", ".join(f"{axis}={value}" for axis, value in shown.items()) or "all"
        members.setdefault(name, []).append(place)
        given.setdefault(name, {key: value for key, value in values.items() if key not in over})
    return tuple(SearchCondition(name, tuple(places), given[name]) for name, places in members.items())


def _points(searcher: SearcherConfig, search: Mapping[str, Distribution]) -> tuple[dict[str, Any], ...]:
    """The points to try first without overridden fields; a point that has no others is none."""
    points = [{key: value for key, value in point.items() if key in search} for point in searcher.try_first]
    return tuple(point for place, point in enumerate(points) if point and point not in points[:place])


def _value(values: Mapping[str, Any], axis: str) -> Any:
    if axis in values:
        return values[axis]
    return {key: value for key, value in values.items() if key.startswith(f"{axis}.")}
