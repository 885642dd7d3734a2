"""What an earlier sweep found, for the sampler of a new one: ``searcher.warm_start`` names that sweep.

Its complete and pruned trials are copied into the new study of the same condition. They count neither as
trials of the new sweep nor as its best: their networks may have been trained with other settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from dwp_sweep.config.search.definition import SearchCondition, SearchSpace
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem, did_you_mean
from dwp_sweep.harness.search.samplers import encoded, optuna_distribution
from dwp_sweep.harness.search.study import VALUES, WARM, WarmTrials, counted, objectives_of
from dwp_sweep.harness.search.study_database import has_studies, studies_of
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import recorded_settings

_WHERE = "searcher.warm_start"
_KINDS = {CategoricalDistribution: "choice", IntDistribution: "int", FloatDistribution: "float"}
_DIRECTIONS = {"max": optuna.study.StudyDirection.MAXIMIZE, "min": optuna.study.StudyDirection.MINIMIZE}


def warm_starts(sweep: Sweep, store: Store) -> dict[str, WarmTrials]:
    """Condition -> what its study begins with; none where the search asks for no earlier one.

    Args:
        sweep: With a search.
        store: Has the studies of both sweeps.

    Raises:
        InputError: There is no such sweep with studies; they searched for something else; none of them is of
            a condition that this sweep has.
    """
    search = sweep.search
    if search is None or search.searcher.warm_start is None:
        return {}
    other = search.searcher.warm_start
    studies = _studies(sweep.name, other, search.searcher.storage, store)
    if problems := [problem for study in studies for problem in _problems(study, search)]:
        raise InputError(problems)
    by_condition = {study.study_name.removeprefix(f"{other}/"): study for study in studies}
    found = {
        condition.name: _warm_start(other, by_condition[condition.name], search, condition)
        for condition in search.conditions
        if condition.name in by_condition
    }
    if not found:
        what = f"{other} has no study of a condition that this sweep has"
        fix = f"its conditions are {'; '.join(by_condition)}"
        raise InputError(Problem(_WHERE, what, fix))
    return found


def _studies(own: str, other: str, given: str | None, store: Store) -> list[optuna.Study]:
    if other == own:
        what = f"{other} is this sweep itself, which goes on with its own trials anyway"
        raise InputError(Problem(_WHERE, what, "leave it out, or name an earlier sweep"))
    url = given or (recorded_settings(store, other).get("searcher") or {}).get("storage")
    studies = studies_of(other, store, url) if url or has_studies(other, store) else []
    if not studies:
        known = [name for name in store.sweeps() if has_studies(name, store) and name != own]
        there = f"sweeps with studies there: {', '.join(known)}" if known else "no sweep there has studies"
        what = f"no sweep {other!r} with studies on {store.place}"
        raise InputError(Problem(_WHERE, what, f"{did_you_mean(other, known)} {there}".strip()))
    return studies


def _problems(study: optuna.Study, search: SearchSpace) -> list[Problem]:
    """How the question of an earlier study differs."""
    metrics, name = [objective.metric for objective in search.objectives], study.study_name
    wanted = [_DIRECTIONS[objective.mode] for objective in search.objectives]
    problems = []
    if list(objectives_of(study)) != metrics or study.directions != wanted:
        before = ", ".join(objectives_of(study)) or "nothing that it names"
        what = f"study {name!r} searched for {before}, and this sweep searches for {', '.join(metrics)}"
        problems.append(Problem(_WHERE, what, "name a sweep with the same objective, or leave it out"))
    kinds: dict[str, str] = {}
    for trial in counted(study.get_trials(deepcopy=False)):
        kinds |= {key: _KINDS.get(type(one), "?") for key, one in trial.distributions.items()}
    own = {key: field.kind for key, field in search.distributions.items()}
    differing = [key for key in dict.fromkeys([*own, *kinds]) if kinds and own.get(key) != kinds.get(key)]
    if differing:
        texts = [
            f"{key} ({kinds.get(key, 'not there')} there, {own.get(key, 'not here')})" for key in differing
        ]
        what = f"study {name!r} searched for other parameters: {', '.join(texts)}"
        problems.append(Problem(_WHERE, what, "name a sweep with the same search, or leave it out"))
    return problems


def _warm_start(
    other: str, study: optuna.Study, search: SearchSpace, condition: SearchCondition
) -> WarmTrials:
    trials, n_left_out = [], 0
    for trial in counted(study.get_trials(deepcopy=False)):
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            continue
        copied = _copy(other, trial, search, condition)
        if copied is None:
            n_left_out += 1
        else:
            trials.append(copied)
    return WarmTrials(other, tuple(trials), n_left_out)


def _copy(
    other: str, trial: FrozenTrial, search: SearchSpace, condition: SearchCondition
) -> FrozenTrial | None:
    """A trial as this search would have it; None where it never suggests its values."""
    given: Mapping[str, Any] = trial.user_attrs[VALUES]
    try:
        values = search.configuration(condition.values, given.__getitem__)
    except KeyError:
        return None
    fields = {key: search.distributions[key] for key in values}
    if values.keys() != given.keys() or not all(fields[key].holds(values[key]) for key in values):
        return None
    results: Sequence[float] | None = trial.values if trial.state == TrialState.COMPLETE else None
    return create_trial(
        state=trial.state,
        values=results,
        params={key: encoded(value, fields[key]) for key, value in values.items()},
        distributions={key: optuna_distribution(field) for key, field in fields.items()},
        intermediate_values=dict(trial.intermediate_values),
        user_attrs={WARM: f"{other}, trial {trial.number}"},
    )
