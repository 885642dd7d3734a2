"""The executor of a cluster: Ray for the time of a run, and one `tune.Tuner` over all its nodes.

Imports Ray only when it is opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dwp_sweep.harness.cluster.ray_session import (
    RememberedMachines,
    cluster_grows,
    other_machines,
    ray_session,
)
from dwp_sweep.harness.cluster.visibility import data_paths, require_seen
from dwp_sweep.harness.dag.node_state import OPEN
from dwp_sweep.harness.dag.slots import Resources
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.harness.trial import TrialContext


class TuneExecutor:
    """Computes nodes on Ray, side by side.

    Args:
        address: Of an existing cluster; None: see `ray_session`.
        max_concurrent: Upper bound on nodes at once; None: as the machines allow.
    """

    def __init__(self, address: str | None = None, max_concurrent: int | None = None) -> None:
        self.max_concurrent = max_concurrent
        self._address = address
        self._is_local = False
        self.machines: Callable[[], Sequence[Resources]] = RememberedMachines()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Ray, for the time of the context."""
        with ray_session(self._address) as self._is_local:
            yield

    def grows(self) -> bool:
        """Whether machines may come that are larger than those that are there."""
        return not self._is_local and cluster_grows()

    def require_seen(self, dispatch: Dispatch) -> None:
        """Make sure that every machine sees the storage and the data that the nodes read.

        Raises:
            InputError: One does not.
        """
        others = other_machines()
        if not others:
            return
        store = dispatch.store
        data = data_paths(dispatch.ledger.board.in_state(*OPEN))
        if store.shared_folder is None:  # what lies in this machine's mirror is handed over with the nodes
            data = tuple(read for read in data if not Path(read.path).is_relative_to(store.root))
        require_seen(store.shared_folder, data, dispatch.resources_by_stage, others, dispatch.ledger.note)

    def drain(self, dispatch: Dispatch, context: TrialContext, experiment: str) -> None:
        """Compute nodes until none is left."""
        from dwp_sweep.harness.tune.tuner import tune_nodes  # imports ray.tune

        tune_nodes(dispatch, context, experiment)
