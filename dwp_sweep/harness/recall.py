"""What a search has asked for in earlier runs, read from its studies: its nodes join the sweep again.

Changes nothing in the studies, so that a plan can be made beside a run. Knows nothing of the board.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from dwp_sweep.config.node import Node
from dwp_sweep.config.search import SearchCondition
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.study import SAME_AS, VALUES
from dwp_sweep.harness.study_storage import open_storage, storage_url, study_name
from dwp_sweep.store.store import Store


def recall(sweep: Sweep, store: Store) -> None:
    """Resolve the nodes of all configurations that the sweep's studies hold."""
    for one in asked(sweep, store):
        try:
            target_nodes(sweep, one.condition, one.values)
        except InputError:
            continue  # asked for under an older version of the space


def target_nodes(sweep: Sweep, condition: SearchCondition, values: Mapping[str, Any]) -> tuple[Node, ...]:
    """The target nodes of a configuration, one for each repeat.

    Raises:
        InputError: The values do not go together.
    """
    if sweep.resolve is None:
        raise ValueError(f"sweep {sweep.name!r} is no search")
    return tuple(sweep.resolve(values, place) for place in condition.members)


@dataclass(frozen=True)
class AskedBefore:
    """A configuration that a study holds.

    Attributes:
        condition: Of its study.
        values: By dotted key.
        is_open: It was asked for and has not ended.
        has_failed: It came to nothing; a run asks for it again.
    """

    condition: SearchCondition
    values: Mapping[str, Any]
    is_open: bool
    has_failed: bool


def asked(sweep: Sweep, store: Store) -> Iterator[AskedBefore]:
    """All configurations that the sweep's studies hold; makes no database where there is none."""
    if sweep.search is None:
        return
    url = storage_url(store, sweep.name, sweep.search.searcher.storage)
    if not _has_studies(url):
        return
    storage = open_storage(url)
    studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
    for condition in sweep.search.conditions:
        number = studies.get(study_name(sweep.name, condition.name))
        for trial in storage.get_all_trials(number, deepcopy=False) if number is not None else ():
            if VALUES in trial.user_attrs and SAME_AS not in trial.user_attrs:
                state = trial.state
                yield AskedBefore(
                    condition, trial.user_attrs[VALUES], not state.is_finished(), state == TrialState.FAIL
                )


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
        return True  # what is wrong with it is told when it is opened
