"""The database of a sweep's studies: where it is, which configurations it holds, its trials as plain rows.

It is a SQLite file in the sweep's folder, or one that is given. A plan and an estimate of costs restore from
it which nodes a search has; reports read the rows, with the learning curves of the networks from their
records. Reading changes nothing there, so it answers beside a run as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from dwp_sweep.config.node import Node
from dwp_sweep.config.search.definition import SearchCondition
from dwp_sweep.config.sections import OBJECTIVES
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.search.study import REASON, VALUES, StudyTrial, counted, objectives_of, study_trial
from dwp_sweep.stages.workload import OBJECTIVE_STAGE
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.client import sqlite_uri
from dwp_sweep.tracking.read.trials import Goal, Parameter, SearchTrials, TrialRow

_MAX_NAME = 400
_SQLITE_WAIT_S = 60
_CURVE = "val_dice"


def storage_url(store: Store, sweep: str, given: str | None) -> str:
    """The database of a sweep's studies: the given one, else a file in the sweep's folder.

    Raises:
        InputError: None is given, and the storage is no folder that could hold one.
    """
    if given is None and store.shared_folder is None:
        what = f"a search on {store.place} needs a database of its studies that is not on S3"
        fix = "set it to one that the driver reaches, as in postgresql+psycopg://USER@HOST/DATABASE"
        raise InputError(Problem("searcher.storage", what, fix))
    return given or sqlite_uri(store.root / "sweeps" / sweep / "optuna.db")


def study_name(sweep: str, condition: str) -> str:
    """Name of a condition's study; a long one is cut, and a hash makes it unique."""
    name = f"{sweep}/{condition}"
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[:_MAX_NAME]}...{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Connect to a database of studies; makes its tables on first use.

    Raises:
        InputError: No database answers there.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would log every study and trial
    arguments = {"connect_args": {"timeout": _SQLITE_WAIT_S}} if url.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    except Exception as error:  # whatever the driver of that database raises
        lines = str(error).strip().splitlines() or [type(error).__name__]
        what = f"no database of studies answers: {lines[0]}"
        fix = "give an URL as SQLAlchemy takes it, or leave it out"
        if isinstance(error, ImportError):
            fix = "install its driver (for PostgreSQL: pip install 'dwp-sweep[server]')"
        raise InputError(Problem("searcher.storage", what, fix)) from None


def target_nodes(sweep: Sweep, condition: SearchCondition, trial: StudyTrial) -> tuple[Node, ...]:
    """The target nodes of a configuration, one for each repeat.

    Raises:
        InputError: The values do not go together.
    """
    if sweep.resolve is None:
        raise ValueError(f"sweep {sweep.name!r} is no search")
    return tuple(sweep.resolve(trial.values, place, trial.number) for place in condition.members)


def past_configurations(sweep: Sweep, store: Store) -> Iterator[tuple[SearchCondition, StudyTrial]]:
    """All configurations that the sweep's studies hold; makes no database where there is none."""
    for condition, trials, _ in past_studies(sweep, store):
        for trial in counted(trials):
            yield condition, study_trial(trial)


def past_studies(
    sweep: Sweep, store: Store
) -> Iterator[tuple[SearchCondition, list[FrozenTrial], Mapping[str, Any]]]:
    """The sweep's studies, their trials and their user attributes; makes no database where there is none."""
    if sweep.search is None:
        return
    url = storage_url(store, sweep.name, sweep.search.searcher.storage)
    if not _has_tables(url):
        return
    storage = open_storage(url)
    for condition in sweep.search.conditions:
        try:
            study_id = storage.get_study_id_from_name(study_name(sweep.name, condition.name))
        except KeyError:
            continue  # not begun
        trials = storage.get_all_trials(study_id, deepcopy=False)
        yield condition, trials, storage.get_study_user_attrs(study_id)


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
    trials = [(study, trial) for study in studies for trial in counted(study.get_trials(deepcopy=False))]
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
    names = [study.study_name for study in storage.get_all_studies()]
    ours = [name for name in names if name.startswith(f"{sweep}/")]
    return [optuna.load_study(study_name=name, storage=storage) for name in ours]


def _has_tables(url: str) -> bool:
    """Whether a database has Optuna's tables: to connect to it would make them, and SQLite's file too."""
    try:
        parts = make_url(url)
        if parts.get_backend_name() == "sqlite" and not Path(parts.database or "").is_file():
            return False
        engine = create_engine(parts)
        try:
            return inspect(engine).has_table("studies")
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError):
        return True  # opening it reports what is wrong


def _condition(study: optuna.Study, sweep: str) -> str:
    return study.study_name.removeprefix(f"{sweep}/")


def _row(trial: FrozenTrial, condition: str, metric: str, store: Store) -> TrialRow:
    ours = study_trial(trial)
    records = [record for key in ours.keys if (record := store.record(OBJECTIVE_STAGE, key)) is not None]
    curves = [
        tuple((point.step, point.metrics[metric]) for point in record.history if metric in point.metrics)
        for record in records
    ]
    steps = trial.intermediate_values
    return TrialRow(
        condition=condition,
        number=ours.number,
        state=ours.state,
        values=dict(ours.values),
        results=ours.results,
        reached=steps[max(steps)] if ours.state == "pruned" and steps else None,
        curves=tuple(curve for curve in curves if curve),
        keys=ours.keys,
        reason=str(trial.user_attrs.get(REASON, "")),
    )


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
