"""What a search may still ask for: random configurations in place of those that are not known yet.

They serve estimates only: they are drawn on a copy of the sweep and enter no study. What they share upstream
counts once, as a run builds it once; early stopping is not foreseen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from dwp_sweep.config.search.definition import SearchCondition, SearchSpace
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.dag.plan import Plan, make_plan
from dwp_sweep.harness.search.samplers import drawn
from dwp_sweep.harness.search.study_database import past_configurations
from dwp_sweep.store.protocol import Store

_N_DRAWN = 200
_N_TRIED = 1000
"""Draws after which a study's space is taken to have no new point."""


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
        n_drawn: Largest number of configurations to draw; `SearchGuess.factor` scales them to all.
    """
    if sweep.search is None or sweep.fresh is None:
        return None
    copy = sweep.fresh()
    studies = [_study(sweep, condition, store) for condition in sweep.search.conditions]
    chosen: list[tuple[str, ...]] = []
    for study, values in _in_turn(studies, sweep.search.searcher.seed):
        if len(chosen) >= n_drawn:
            break
        keys = _targets(copy, study.condition, values)
        if keys:
            chosen.append(keys)
    # A budget counts configurations; the plan of a grid counts targets.
    targets = tuple(dict.fromkeys(key for keys in chosen for key in keys))
    n_repeats = max((len(condition.members) for condition in sweep.search.conditions), default=1)
    budget = sweep.budget
    if budget.trials is not None:
        budget = budget.model_copy(update={"trials": budget.trials * n_repeats})
    grid = replace(copy, search=None, resolve=None, targets=targets, budget=budget)
    n_to_come = sum(study.n_to_come for study in studies)
    return SearchGuess(make_plan(grid, store), n_to_come, len(chosen), n_repeats)


@dataclass
class _Study:
    """What one study has yet to ask for: its open configurations, then points that are new to it."""

    search: SearchSpace
    condition: SearchCondition
    opened: Sequence[Mapping[str, Any]]
    n_new: int
    seen: set[str]

    @property
    def n_to_come(self) -> int:
        return len(self.opened) + self.n_new

    def configurations(self, draws: np.random.Generator) -> Iterator[Mapping[str, Any]]:
        """In the order of the run; lowers ``n_new`` where the space has no more points."""
        yield from self.opened
        for n_drawn in range(self.n_new):
            values = self._new(draws)
            if values is None:
                self.n_new = n_drawn
                return
            yield values

    def _new(self, draws: np.random.Generator) -> dict[str, Any] | None:
        for _ in range(_N_TRIED):
            values = self.search.configuration(
                self.condition.values, lambda key: drawn(self.search.distributions[key], draws)
            )
            if (point := _point(values)) not in self.seen:
                self.seen.add(point)
                return values
        return None


def _study(sweep: Sweep, condition: SearchCondition, store: Store) -> _Study:
    assert sweep.search is not None
    trials = [trial for of, trial in past_configurations(sweep, store) if of is condition]
    known = [trial for trial in trials if trial.state != "failed"]  # a run tries those once more
    opened = [trial.values for trial in known if trial.state == "open"]
    n_new = max(sweep.search.searcher.n_trials - len(known), 0)
    return _Study(sweep.search, condition, opened, n_new, {_point(trial.values) for trial in known})


def _in_turn(studies: Sequence[_Study], seed: int) -> Iterator[tuple[_Study, Mapping[str, Any]]]:
    """A configuration of each study in turn, as in a run."""
    draws = np.random.default_rng(seed)
    for turn in zip_longest(*(study.configurations(draws) for study in studies)):
        yield from (
            (study, values) for study, values in zip(studies, turn, strict=True) if values is not None
        )


def _point(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def _targets(copy: Sweep, condition: SearchCondition, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys of a configuration's targets; none where its values do not go together."""
    assert copy.resolve is not None
    try:
        return tuple(copy.resolve(values, place).key for place in condition.members)
    except InputError:
        return ()
