"""What a search may still ask for: configurations drawn at random in place of those that nobody knows yet.

For estimates only: drawn on a copy of the sweep, asked of no study. What they share upstream is counted
once, as a run would build it once; early stopping is not foreseen. Reads the store and its studies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from dwp_sweep.config.search import SearchCondition
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.plan import Plan, make_plan
from dwp_sweep.harness.recall import asked
from dwp_sweep.harness.suggestion import drawn
from dwp_sweep.store.store import Store

_N_DRAWN = 200


@dataclass(frozen=True)
class SearchGuess:
    """A sample of what a search has yet to build.

    Attributes:
        plan: Of the drawn configurations, as if they were a grid.
        n_to_come: Configurations to come, open ones of an earlier run included.
        n_drawn: Those of them that are in the plan.
        n_repeats: Target nodes of one configuration.
    """

    plan: Plan
    n_to_come: int
    n_drawn: int
    n_repeats: int

    @property
    def factor(self) -> float:
        """By how much the whole is more than its sample."""
        return self.n_to_come / self.n_drawn if self.n_drawn else 0.0


def guess_search(sweep: Sweep, store: Store, n_drawn: int = _N_DRAWN) -> SearchGuess | None:
    """Draw what a search has yet to ask for; None where the sweep cannot be tried on a copy.

    Args:
        sweep: With a search.
        store: Holds its studies, if any.
        n_drawn: Largest number of configurations to draw; the more of them are to come is a factor.
    """
    if sweep.search is None or sweep.fresh is None:
        return None
    copy = sweep.fresh()
    waiting = {place: _to_come(sweep, one, store) for place, one in enumerate(sweep.search.conditions)}
    n_to_come = sum(len(opened) + n_new for opened, n_new in waiting.values())
    chosen: list[tuple[str, ...]] = []
    for place, values in _in_turn(sweep, waiting):
        if len(chosen) >= n_drawn:
            break
        keys = _targets(copy, sweep.search.conditions[place], values)
        if keys:
            chosen.append(keys)
    # A budget counts configurations; the plan of a grid counts targets.
    targets = tuple(dict.fromkeys(key for keys in chosen for key in keys))
    n_repeats = max((len(one.members) for one in sweep.search.conditions), default=1)
    budget = sweep.budget
    if budget.trials is not None:
        budget = budget.model_copy(update={"trials": budget.trials * n_repeats})
    grid = replace(copy, search=None, resolve=None, targets=targets, budget=budget)
    return SearchGuess(make_plan(grid, store), n_to_come, len(chosen), n_repeats)


def _to_come(sweep: Sweep, condition: SearchCondition, store: Store) -> tuple[list[Mapping[str, Any]], int]:
    """Values that are open in the study of a condition, and how many are to be suggested yet."""
    assert sweep.search is not None
    known = [one for one in asked(sweep, store) if one.condition is condition and not one.has_failed]
    opened = [one.values for one in known if one.is_open]
    return opened, max(sweep.search.searcher.n_trials - len(known), 0)


def _in_turn(
    sweep: Sweep, waiting: Mapping[int, tuple[Sequence[Mapping[str, Any]], int]]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(Study, values): a configuration of each study in turn, as the run asks them."""
    assert sweep.search is not None
    draws = np.random.default_rng(sweep.search.searcher.seed)
    rows = [
        [(place, values) for values in (*opened, *([None] * n_new))]
        for place, (opened, n_new) in waiting.items()
    ]
    for turn in zip_longest(*rows):
        for pair in turn:
            if pair is not None:
                place, values = pair
                yield place, values if values is not None else _drawn(sweep, place, draws)


def _drawn(sweep: Sweep, place: int, draws: np.random.Generator) -> dict[str, Any]:
    assert sweep.search is not None
    given = sweep.search.conditions[place].values
    values: dict[str, Any] = {}
    for key, one in sweep.search.distributions.items():
        if sweep.search.applies(key, {**given, **values}):
            values[key] = drawn(one, draws)
    return values


def _targets(copy: Sweep, condition: SearchCondition, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys of a configuration's targets; none where its values do not go together."""
    assert copy.resolve is not None
    try:
        return tuple(copy.resolve(values, place).key for place in condition.members)
    except InputError:
        return ()
