"""The executor of one process: every node in the driver itself, one after the other, without Ray.

For a debugger, a notebook, a first test on a laptop (``dwp-sweep run SPACE --here``). Store, MLflow, display,
leases, budgets and exit codes are those of any run, and the results are the same bit by bit: a node gets the
threads that its stage asks for. Two things differ. A search is not judged early, since ASHA and the median
rule are Ray Tune's: such a search is refused. And a device that fails in one node fails in the next: there
is no other process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from dwp_sweep.harness.dag.resources import Resources, this_machine
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.harness.trial import TrialContext, run_trial
from dwp_sweep.store.open_store import open_store

_LOOK_EVERY_S = 0.5


class InProcessExecutor:
    """Computes nodes in this process."""

    max_concurrent: int | None = 1

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Give back what workers of their own would keep: threads of torch, devices that are hidden."""
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        torch = sys.modules.get("torch")
        n_threads = torch.get_num_threads() if torch is not None else None
        try:
            yield
        finally:
            if hidden is None:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = hidden
            if torch is not None and n_threads is not None:
                torch.set_num_threads(n_threads)

    def machines(self) -> Sequence[Resources]:
        """This one."""
        return [this_machine()]

    def fitting(self, resources: Resources) -> Sequence[str]:
        """One process has no choice of machines."""
        return ()

    def grows(self) -> bool:
        """No other machine comes."""
        return False

    def is_lost(self) -> bool:
        """This process is there."""
        return False

    def require_seen(self, dispatch: Dispatch) -> None:
        """This process reads what it has planned with."""

    def drain(self, dispatch: Dispatch, context: TrialContext, experiment: str) -> None:
        """Compute nodes until none is left, the most urgent of those that are ready first."""
        store = open_store(context.root, check=False)  # as a worker has it, apart from the driver's
        context = replace(context, is_shared_process=True)
        for number in itertools.count():
            trial_id = f"{experiment}-{number}"
            node = dispatch.next_node(trial_id)
            if node is not None:
                dispatch.ledger.started(trial_id)

                def report(
                    epoch: int, n_epochs: int, metrics: Mapping[str, float], trial_id: str = trial_id
                ) -> None:
                    dispatch.reported(trial_id, epoch, n_epochs, metrics)
                    dispatch.ledger.watch()

                ending = run_trial(node.stage, node.key, store, context, report)
                is_stopped = ending.status == "stopped"
                dispatch.close(trial_id, is_stopped, ending.message, is_unsent=ending.is_unsent)
            elif dispatch.is_finished:
                return
            else:
                time.sleep(_LOOK_EVERY_S)  # another run builds what is missing
