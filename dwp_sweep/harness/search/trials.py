"""The studies of a sweep as plain rows, with the learning curves of their networks from the records.

Reads a study's database and changes nothing there, so it answers beside a run as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from dwp_sweep.config.sections import OBJECTIVES
from dwp_sweep.harness.search.past_configurations import open_storage, storage_url
from dwp_sweep.harness.search.study import NODES, REASON, SAME_AS, STATES, VALUES, objectives_of
from dwp_sweep.stages.workload import OBJECTIVE_STAGE
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record
from dwp_sweep.tracking.read.trials import Goal, Parameter, SearchTrials, TrialRow

_CURVE = "val_dice"


def has_studies(sweep: str, store: Store) -> bool:
    """Whether the sweep's own folder holds its studies."""
    return (store.root / "sweeps" / sweep / "optuna.db").is_file()


def read_trials(sweep: str, store: Store, url: str | None = None) -> SearchTrials | None:
    """All configurations of a sweep's studies.

    Args:
        sweep: Its name.
        store: Holds the records of its networks.
        url: Of the database of its studies; None: the file in the sweep's folder.

    Returns:
        None where there is no study of this sweep.

    Raises:
        InputError: The database does not answer.
    """
    if url is None and not has_studies(sweep, store):
        return None
    studies = studies_of(sweep, store, url)
    if not studies:
        return None
    goals = tuple(Goal(metric, OBJECTIVES[metric]) for metric in objectives_of(studies[0]))
    curve = next((goal.metric for goal in goals if goal.metric.startswith("val_")), _CURVE)
    trials = [(study, trial) for study in studies for trial in counted(study)]
    return SearchTrials(
        sweep=sweep,
        goals=goals,
        curve=curve,
        parameters=_parameters([trial for _, trial in trials]),
        conditions=tuple(_condition(study, sweep) for study in studies),
        trials=tuple(_row(trial, _condition(study, sweep), curve, store) for study, trial in trials),
    )


def studies_of(sweep: str, store: Store, url: str | None = None) -> list[optuna.Study]:
    """The studies of a sweep, in the order in which they were begun.

    Raises:
        InputError: The database does not answer.
    """
    storage = open_storage(storage_url(store, sweep, url))
    names = [
        study.study_name for study in storage.get_all_studies() if study.study_name.startswith(f"{sweep}/")
    ]
    ours = [name for name in names if name.startswith(f"{sweep}/")]
    return [optuna.load_study(study_name=name, storage=storage) for name in ours]


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The configurations of a study; points that the sampler repeated are none."""
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if VALUES in trial.user_attrs and SAME_AS not in trial.user_attrs]


def _condition(study: optuna.Study, sweep: str) -> str:
    return study.study_name.removeprefix(f"{sweep}/")


def _row(trial: FrozenTrial, condition: str, curve: str, store: Store) -> TrialRow:
    keys = tuple(trial.user_attrs.get(NODES, ()))
    records = [record for key in keys if (record := store.record(OBJECTIVE_STAGE, key)) is not None]
    steps = trial.intermediate_values
    return TrialRow(
        condition=condition,
        number=trial.number,
        state=STATES[trial.state],
        values=dict(trial.user_attrs[VALUES]),
        results=tuple(trial.values or ()) if trial.state == TrialState.COMPLETE else (),
        reached=steps[max(steps)] if trial.state == TrialState.PRUNED and steps else None,
        curves=tuple(points for record in records if (points := _points(record, curve))),
        keys=keys,
        reason=str(trial.user_attrs.get(REASON, "")),
    )


def _points(record: Record, metric: str) -> tuple[tuple[int, float], ...]:
    return tuple((point.step, point.metrics[metric]) for point in record.history if metric in point.metrics)


def _parameters(trials: Sequence[FrozenTrial]) -> tuple[Parameter, ...]:
    known: dict[str, list[BaseDistribution]] = {}
    order: dict[str, None] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            known.setdefault(name, []).append(distribution)
        # The values keep the order of the search space; Optuna sorts by name.
        order |= dict.fromkeys(trial.user_attrs[VALUES])
    return tuple(_parameter(name, known[name]) for name in order if name in known)


def _parameter(name: str, seen: Sequence[BaseDistribution]) -> Parameter:
    """A study may go on with other ranges: the widest is shown."""
    last = seen[-1]
    if isinstance(last, CategoricalDistribution):
        return Parameter(name, choices=tuple(str(choice) for choice in last.choices))
    numbers: list[Any] = [field for field in seen if not isinstance(field, CategoricalDistribution)]
    low, high = min(float(field.low) for field in numbers), max(float(field.high) for field in numbers)
    return Parameter(name, low, high, bool(numbers[-1].log))
