"""The studies of a sweep in their database, and the configurations that they hold from earlier runs.

The database is a SQLite file in the sweep's folder, or one that is given. A plan and an estimate of costs
restore from it which nodes a search has. `study` asks for new ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from dwp_sweep.config.node import Node
from dwp_sweep.config.search.definition import SearchCondition
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.search.study import SAME_AS, VALUES
from dwp_sweep.store.protocol import Store

_MAX_NAME = 400
_SQLITE_WAIT_S = 60


@dataclass(frozen=True)
class PastConfiguration:
    """A configuration that a study holds.

    Attributes:
        condition: Of its study.
        values: By dotted key.
        is_open: It has not ended.
        has_failed: It failed; a run tries it once more.
    """

    condition: SearchCondition
    values: Mapping[str, Any]
    is_open: bool
    has_failed: bool


def storage_url(store: Store, sweep: str, given: str | None) -> str:
    """The database of a sweep's studies: the given one, else a file in the sweep's folder.

    Raises:
        InputError: None is given, and the storage is no folder that could hold one.
    """
    if given is None and store.shared_folder is None:
        what = f"a search on {store.place} needs a database of its studies that is not on S3"
        fix = "set it to one that the driver reaches, as in postgresql+psycopg://USER@HOST/DATABASE"
        raise InputError(Problem("searcher.storage", what, fix))
    return given or f"sqlite:///{store.root / 'sweeps' / sweep / 'optuna.db'}"


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


def restore_configurations(sweep: Sweep, store: Store) -> None:
    """Resolve the nodes of all configurations that the sweep's studies hold."""
    for past in past_configurations(sweep, store):
        try:
            target_nodes(sweep, past.condition, past.values)
        except InputError:
            continue  # of an older version of the space


def target_nodes(sweep: Sweep, condition: SearchCondition, values: Mapping[str, Any]) -> tuple[Node, ...]:
    """The target nodes of a configuration, one for each repeat.

    Raises:
        InputError: The values do not go together.
    """
    if sweep.resolve is None:
        raise ValueError(f"sweep {sweep.name!r} is no search")
    return tuple(sweep.resolve(values, place) for place in condition.members)


def past_configurations(sweep: Sweep, store: Store) -> Iterator[PastConfiguration]:
    """All configurations that the sweep's studies hold; makes no database where there is none."""
    if sweep.search is None:
        return
    url = storage_url(store, sweep.name, sweep.search.searcher.storage)
    if not _has_studies(url):
        return
    storage = open_storage(url)
    for condition in sweep.search.conditions:
        try:
            study_id = storage.get_study_id_from_name(study_name(sweep.name, condition.name))
        except KeyError:
            continue  # not begun
        for trial in storage.get_all_trials(study_id, deepcopy=False):
            if VALUES in trial.user_attrs and SAME_AS not in trial.user_attrs:
                is_open, has_failed = not trial.state.is_finished(), trial.state == TrialState.FAIL
                yield PastConfiguration(condition, trial.user_attrs[VALUES], is_open, has_failed)


def _has_studies(url: str) -> bool:
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
