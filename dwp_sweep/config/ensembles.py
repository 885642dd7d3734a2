"""Which target networks of a grid make an ensemble: those that differ in some axes alone.

``ensemble: seed`` in a search space averages the networks of each condition over its seeds. Axes are those
that repeat a configuration: split, seed and ``source.member``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dwp_sweep.config.experiment import ExperimentConfig
from dwp_sweep.errors import Problem

FOLD = "fold"
"""The axis that validation in folds adds by itself."""


@dataclass(frozen=True)
class EnsembleGroup:
    """Networks whose mean is scored.

    Attributes:
        places: Of their conditions in the grid.
        variant: Their variant's name; None where the grid has no such axis.
        over: The axes in which they differ.
    """

    places: tuple[int, ...]
    variant: str | None
    over: tuple[str, ...]


def by_fold(condition: ExperimentConfig) -> list[ExperimentConfig]:
    """A condition once for each of its folds; itself where no folds validate, or one fold is asked for."""
    target = condition.data.target
    if target.validation != "folds" or condition.fold is not None:
        return [condition]
    return [condition.model_copy(update={"fold": fold}) for fold in range(target.n_folds)]


def ensemble_groups(
    conditions: Sequence[ExperimentConfig], variants: Sequence[str | None], over: Sequence[str]
) -> list[EnsembleGroup]:
    """Conditions by all that the axes leave, in the grid's order; folds are always averaged over.

    Args:
        conditions: Of the grid.
        variants: Their variants.
        over: Axes to average over; none: there are no ensembles.
    """
    groups: dict[tuple[ExperimentConfig, str | None, tuple[str, ...]], list[int]] = {}
    for place, (condition, variant) in enumerate(zip(conditions, variants, strict=True)):
        axes = (*over, *((FOLD,) if condition.fold is not None else ()))
        if axes:
            groups.setdefault((_without(condition, axes), variant, axes), []).append(place)
    return [EnsembleGroup(tuple(places), variant, axes) for (_, variant, axes), places in groups.items()]


def ensemble_problems(
    over: Sequence[str], conditions: Sequence[ExperimentConfig], is_searched: bool, where: str
) -> list[Problem]:
    """What stands against the ensembles that a file asks for.

    Args:
        over: As the file has it.
        conditions: Of the grid.
        is_searched: Whether the file searches.
        where: File named in the problems.
    """
    if is_searched and any(condition.fold is not None for condition in conditions):
        fix = "search with validation: held_out or train, and run the best configuration in folds"
        return [Problem(where, "data.target.validation is folds, and a search scores no ensembles", fix)]
    if not over:
        return []
    if is_searched:
        fix = "run the best configuration as a grid, or predict best:SWEEP --ensemble"
        return [Problem(where, "ensemble is given, and a search scores no ensembles", fix)]
    resampled = any(
        condition.data.target.splits == "resampled" and not condition.data.target.split_file
        for condition in conditions
    )
    if "split" in over and resampled:
        what = "ensemble: split: each resampled split tests other scans, and trains on what others test"
        return [Problem(where, what, "set data.target.splits: independent, or average over seed")]
    return []


def single_warnings(n_networks: Sequence[int], over: Sequence[str]) -> list[str]:
    """A warning where ensembles are of one network.

    Args:
        n_networks: Of each ensemble.
        over: The axes.
    """
    n_single = sum(n == 1 for n in n_networks)
    if not n_single:
        return []
    axes = " or ".join(f"grid.{axis}" for axis in over) or "fold, which asks for one fold,"
    which = "the ensemble is" if len(n_networks) == 1 else f"{n_single} of {len(n_networks)} ensembles are"
    return [f"{which} of one network, and scores what that network does: give {axes} more values"]


def _without(condition: ExperimentConfig, over: Sequence[str]) -> ExperimentConfig:
    """The condition with the axes at one value."""
    changes: dict[str, object] = {axis: 0 for axis in over if axis in ("split", "seed")}
    if FOLD in over:
        changes[FOLD] = None
    if "source.member" in over:
        changes["source"] = condition.source.model_copy(update={"member": 0})
    return condition.model_copy(update=changes)
