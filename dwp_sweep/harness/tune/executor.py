"""The executor of a cluster: Ray for the time of a run, and one `tune.Tuner` over all its nodes.

Searcher, callback and trainable are put together here. Imports Ray at the top: `run` imports this file only
when there is something to build on Ray.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from dwp_sweep.config.node import Node
from dwp_sweep.errors import StorageError
from dwp_sweep.harness.cluster.ray_session import (
    RememberedMachines,
    cluster_grows,
    known_machines,
    other_machines,
    ray_session,
)
from dwp_sweep.harness.cluster.visibility import data_paths, require_seen
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.node_state import OPEN
from dwp_sweep.harness.dag.resources import Resources, slots
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.harness.private_apis import keep_from_trials
from dwp_sweep.harness.trial import TrialContext
from dwp_sweep.harness.tune.searcher import DagSearcher, Reconcile
from dwp_sweep.harness.tune.trainable import make_trainable, request
from dwp_sweep.store.heartbeat import live_runs
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.s3.retries import OUTAGE_S

_MAX_NAME = 100
_MAX_PENDING = 10_000  # Tune's own limit steps aside: `Admission` decides


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

    def fitting(self, resources: Resources) -> Sequence[str]:
        """Ray's names of the machines that have so much."""
        return [machine.id for machine in known_machines() if slots(resources, [machine.resources])]

    def grows(self) -> bool:
        """Whether machines may come that are larger than those that are there."""
        return not self._is_local and cluster_grows()

    def is_lost(self) -> bool:
        """Whether our local Ray has ended: batch systems send SIGTERM to its processes as well."""
        if not self._is_local:
            return False
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False  # a machine under load
        return False

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
        tune_nodes(dispatch, context, experiment)


def tune_nodes(dispatch: Dispatch, context: TrialContext, experiment: str) -> None:
    """Hand out nodes through Tune until none is left.

    Args:
        dispatch: Of the run.
        context: What the workers need.
        experiment: Unique name: Tune's state of another run must not be taken up.
    """
    ledger, store = dispatch.ledger, dispatch.store
    keep_from_trials("AWS_")  # every machine's Ray would log the driver's keys; workers have their own
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the ledger reports what Tune would
    trainable = tune.with_resources(
        make_trainable(context),
        partial(request, context),
    )
    tune_config = tune.TuneConfig(
        search_alg=DagSearcher(dispatch),
        scheduler=_scheduler(dispatch) if context.every_epoch else None,
        num_samples=-1,
        max_concurrent_trials=_MAX_PENDING,
        reuse_actors=True,
        trial_name_creator=_TrialName(ledger),
        trial_dirname_creator=lambda trial: f"{trial.config['stage']}_{trial.trial_id}",
    )
    run_config = tune.RunConfig(
        name=experiment,
        storage_path=str(store.root / "ray"),
        failure_config=tune.FailureConfig(max_failures=0),  # `Dispatch` decides what is tried again
        callbacks=[Reconcile(dispatch)],
        stop=_NothingRuns(ledger),
        progress_reporter=_Silent(),
        verbose=0,
    )
    try:
        tune.Tuner(trainable, tune_config=tune_config, run_config=run_config).fit()
    except (OSError, TuneError) as error:
        # Tune wraps what the searcher meets as text; what is published is safe.
        if not (reason := _reason_of_storage(error)):
            raise
        ledger.start_no_more(f"the storage cannot be written ({reason}: {store.place})", is_broken=True)
    finally:
        _remove_pickles(store, experiment)
    if not ledger.messages:
        # The store has every result; what Tune wrote only helps to look into a failure.
        shutil.rmtree(store.root / "ray" / experiment, ignore_errors=True)


def trial_name(node: Node) -> str:
    """What Tune calls a trial: a node's title as one word, ``target_trial_3_latent_dim=4_..._1f2e3d4c``."""
    title = re.sub(r"[^\w=.+-]+", "_", node.title)
    return f"{title[:_MAX_NAME].strip('_')}_{node.key[:8]}"


def _reason_of_storage(error: Exception) -> str:
    """Why the storage ended the run, in words; empty where something else did."""
    text = str(error)
    if os.strerror(errno.ENOSPC) in text:
        return os.strerror(errno.ENOSPC)
    if isinstance(error, StorageError) or StorageError.__name__ in text:
        return f"its server was away for more than {OUTAGE_S:g} s, or refuses"
    return ""


def _remove_pickles(store: Store, experiment: str) -> None:
    """Tune pickles the trainable with all that it holds: the tracking URI, which may have a password.

    Those of drivers that were killed are removed as well; those of live ones are kept.
    """
    live = tuple(f"-{run.run}" for run in live_runs(store))
    folder = store.root / "ray"
    for state in folder.iterdir() if folder.is_dir() else ():
        if state.name == experiment or not (live and state.name.endswith(live)):
            for path in state.rglob("*.pkl"):
                path.unlink(missing_ok=True)


class _NothingRuns(tune.Stopper):
    """Ends the wait for places once nothing more shall start: on a cluster that lacks them it has no end."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for what it reports."""
        return False

    def stop_all(self) -> bool:
        """Whether all that is in hand waits for a place that it shall not take any more."""
        in_hand = list(self._ledger.in_hand.work.values())
        return self._ledger.is_stopping and bool(in_hand) and all(work.started_s is None for work in in_hand)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to restore from: the store is the truth."""
        return {}


class _TrialName:
    """Names Tune's trials."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, trial: Trial) -> str:
        return trial_name(self._ledger.board.nodes[trial.config["node"]])

    def __deepcopy__(self, memo: dict[int, Any]) -> _TrialName:
        """Itself: Tune copies it for every trial."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to restore from: the store is the truth."""
        return {}


class _Silent(tune.ProgressReporter):
    """Tune's own reporter would wipe a notebook's output, our display with it."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        return None


def _scheduler(dispatch: Dispatch) -> FIFOScheduler | None:
    if dispatch.search is None:
        return None
    from dwp_sweep.harness.search.scheduler import SearchScheduler  # imports optuna: for searches only

    scheduler = SearchScheduler(dispatch.search, dispatch.store)
    dispatch.search.watch_record = scheduler.learn
    dispatch.search.replay()
    return scheduler
