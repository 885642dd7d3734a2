"""What a search has asked for in earlier runs, read from its studies: its nodes join the sweep again.

Changes nothing in the studies, so that a plan can be made beside a run. Knows nothing of the board.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.config.search import SearchCondition
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.study import SAME_AS, VALUES, open_storage, storage_url, study_name
from dwp_sweep.store.store import Store


def recall(sweep: Sweep, store: Store) -> None:
    """Resolve the nodes of all configurations that the sweep's studies hold."""
    for condition, values in _asked(sweep, store):
        try:
            target_nodes(sweep, condition, values)
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


def _asked(sweep: Sweep, store: Store) -> Iterator[tuple[SearchCondition, Mapping[str, Any]]]:
    if sweep.search is None:
        return
    url = storage_url(store, sweep.name, sweep.search.searcher.storage)
    if (
        sweep.search.searcher.storage is None
        and not (store.root / "sweeps" / sweep.name / "optuna.db").is_file()
    ):
        return
    storage = open_storage(url)
    studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
    for condition in sweep.search.conditions:
        number = studies.get(study_name(sweep.name, condition.name))
        for trial in storage.get_all_trials(number, deepcopy=False) if number is not None else ():
            if VALUES in trial.user_attrs and SAME_AS not in trial.user_attrs:
                yield condition, trial.user_attrs[VALUES]
