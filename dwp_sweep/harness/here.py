"""The executor of one process: every node in the driver itself, one after the other, without Ray.

For a debugger, a notebook, a first test on a laptop (``dwp-sweep run SPACE --here``). Store, MLflow, display,
leases, budgets and exit codes are those of any run, and the results are the same bit by bit: a node gets the
threads that its stage asks for. Two things differ. A search is not judged early, since ASHA and the median
rule are Ray Tune's: such a search is refused. And a device that one node has spoilt stays so for the next:
there is no other process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from dwp_sweep.config.node import Node
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.cost.plan_cost import this_machine
from dwp_sweep.harness.dag.slots import Resources
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.harness.trial import TrialContext, run_trial
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.protocol import Store

_LOOK_EVERY_S = 0.5


def require_no_cluster(address: str | None) -> None:
    """Make sure that no cluster is asked for beside this process.

    Raises:
        InputError: One is.
    """
    if address:
        what = f"computes all nodes in this process, and --address {address} names a cluster"
        raise InputError(Problem("--here", what, "leave one of the two out"))


def require_no_early_stopping(sweep: Sweep) -> None:
    """Make sure that a search gives no configuration up before its last epoch.

    Raises:
        InputError: It does, by a rule that is Ray Tune's.
    """
    kind = sweep.search.scheduler.kind if sweep.search is not None else "none"
    if kind != "none":
        what = f"scheduler.kind = {kind} is a rule of Ray Tune's, and --here starts no Ray"
        fix = "leave --here out, or try every configuration to its end: --set scheduler.kind=none"
        raise InputError(Problem("--here", what, fix))


class HereExecutor:
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

    def grows(self) -> bool:
        """No other machine comes."""
        return False

    def require_seen(
        self,
        nodes: Collection[Node],
        resources_by_stage: Mapping[str, Resources],
        store: Store,
        tell: Callable[[str], None],
    ) -> None:
        """This process reads what it has planned with."""

    def drain(self, dispatch: Dispatch, context: TrialContext, experiment: str) -> None:
        """Compute nodes until none is left, the most urgent of those that are ready first."""
        store = open_store(context.root, check=False)  # as a worker has it, apart from the driver's
        context = replace(context, is_shared_process=True)
        for number in itertools.count():
            trial_id = f"{experiment}-{number}"
            node = dispatch.next_node(trial_id)
            if node is not None:
                _compute(node, trial_id, dispatch, store, context)
            elif dispatch.is_finished:
                return
            else:
                time.sleep(_LOOK_EVERY_S)  # another run builds what is missing


def _compute(node: Node, trial_id: str, dispatch: Dispatch, store: Store, context: TrialContext) -> None:
    def report(epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        dispatch.reported(trial_id, epoch, n_epochs, metrics)
        dispatch.ledger.watch()

    dispatch.ledger.started(trial_id)
    ending = run_trial(node.stage, node.key, store, context, report)
    dispatch.close(trial_id, is_stopped=ending.status == "stopped", lost=ending.message)
