"""MLflow brought level with a sweep's records, from the storage alone: the command ``sync`` as a function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.api.keeping import in_hand
from dwp_sweep.api.telling import DEFAULT_STORAGE
from dwp_sweep.config.node import Node
from dwp_sweep.harness.status import require_sweep
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.sweep_record import recorded_nodes, recorded_settings

if TYPE_CHECKING:
    from dwp_sweep.tracking.sync import SyncReport


def sync(sweep: str, storage: str | Path = DEFAULT_STORAGE, tracking_uri: str | None = None) -> SyncReport:
    """Send MLflow what it missed of a sweep: runs, metrics and files of nodes that have ended.

    The next run of the sweep does the same; this needs neither the search space nor the data. Nodes that a
    run has in hand are left to it. What MLflow has already is not sent again.

    Args:
        sweep: Its name.
        storage: As for `run_sweep`.
        tracking_uri: MLflow's; None: ``MLFLOW_TRACKING_URI``, else the database under the storage.

    Returns:
        What was sent; its ``problem`` says why something is still missing.

    Raises:
        InputError: No such sweep on this storage.
    """
    from dwp_sweep.tracking.client import open_tracking
    from dwp_sweep.tracking.sync import sync_records

    store = open_store(storage)
    require_sweep(sweep, store)
    nodes = [
        Node(entry.key, entry.stage, entry.config, entry.inputs, entry.labels)
        for entry in recorded_nodes(store, sweep)
    ]
    tracking = open_tracking(tracking_uri, store.place, sweep, recorded_settings(store, sweep))
    return sync_records(tracking, nodes, store, in_hand(store))
