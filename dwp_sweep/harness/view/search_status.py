"""How a search stands, from its studies and its recorded settings: trials by state, and the best so far."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dwp_sweep.config.sections import OBJECTIVES
from dwp_sweep.config.variants import VARIANT
from dwp_sweep.errors import DwpSweepError
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import recorded_settings


@dataclass(frozen=True)
class BestTrial:
    """The best configuration of a study so far.

    Attributes:
        condition: Of the grid; ``all`` where there is one study.
        number: Of its trial.
        values: By dotted key.
        metric: That it was searched for.
        value: Its mean over the repeats.
    """

    condition: str
    number: int
    values: Mapping[str, Any]
    metric: str
    value: float


@dataclass(frozen=True)
class SearchStatus:
    """How a search stands.

    Attributes:
        n_trials: Configurations of all studies together.
        n_to_come: Those that have not been asked for.
        n_repeats: Target networks of one configuration.
        n_by_state: ``complete``, ``pruned``, ``failed``, ``open`` -> number of configurations.
        best: The best one of each study with one objective.
        problem: Why the studies cannot be read, if they cannot.
    """

    n_trials: int
    n_to_come: int
    n_repeats: int
    n_by_state: Mapping[str, int] = field(default_factory=dict)
    best: tuple[BestTrial, ...] = ()
    problem: str = ""


def search_status(sweep: str, store: Store) -> SearchStatus | None:
    """How the search of a sweep stands; None where it searches for nothing.

    Args:
        sweep: Its name.
        store: The storage that it runs on.
    """
    settings = recorded_settings(store, sweep)
    if not settings.get("search"):
        return None
    searcher, n_studies, n_repeats = settings.get("searcher") or {}, *_sizes(settings)
    n_each = int(searcher.get("n_trials", 0))
    fresh = SearchStatus(n_each * n_studies, n_each * n_studies, n_repeats)
    from dwp_sweep.harness.search.study_database import has_studies, studies_of  # optuna: for searches only

    url = searcher.get("storage")
    if url is None and not has_studies(sweep, store):
        return fresh
    try:
        studies = studies_of(sweep, store, url)
        return _status(fresh, n_each, n_studies, sweep, studies)
    except DwpSweepError as error:
        return SearchStatus(fresh.n_trials, 0, n_repeats, problem=str(error))


def _status(fresh: SearchStatus, n_each: int, n_studies: int, sweep: str, studies: list[Any]) -> SearchStatus:
    from dwp_sweep.harness.search.study import EXHAUSTED, counted, objectives_of, study_trial

    counts: Counter[str] = Counter()
    best: list[BestTrial] = []
    n_to_come = n_each * max(n_studies - len(studies), 0)
    for study in studies:
        trials = [study_trial(trial) for trial in counted(study.get_trials(deepcopy=False))]
        # A configuration that failed and is tried again is one: its last trial counts.
        last = {json.dumps(trial.values, sort_keys=True, default=str): trial for trial in trials}
        counts.update(trial.state for trial in last.values())
        n_to_come += 0 if study.user_attrs.get(EXHAUSTED) else max(n_each - len(last), 0)
        metrics = objectives_of(study)
        done = [trial for trial in last.values() if trial.state == "complete" and trial.results]
        if len(metrics) == 1 and done:
            sign = 1.0 if OBJECTIVES.get(metrics[0], "max") == "max" else -1.0
            first = max(done, key=lambda trial: (sign * trial.results[0], -trial.number))
            condition = study.study_name.removeprefix(f"{sweep}/")
            best.append(BestTrial(condition, first.number, dict(first.values), metrics[0], first.results[0]))
    return SearchStatus(fresh.n_trials, n_to_come, fresh.n_repeats, dict(counts), tuple(best))


def _sizes(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Number of studies, and of the repeats of one configuration."""
    grid = settings.get("grid") or {}
    over = {axis for objective in settings.get("objective") or () for axis in objective.get("over") or ()}
    sizes = {axis: len(values) for axis, values in grid.items() if axis == VARIANT or values}
    repeats = math.prod(size for axis, size in sizes.items() if axis in over)
    return math.prod(size for axis, size in sizes.items() if axis not in over), repeats
