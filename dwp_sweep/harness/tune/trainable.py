"""The function that Tune runs in a worker: find the node, prepare the process, attempt it, report.

The thin layer between Ray and `attempt`. A node that fails is a trial that ends normally: Tune repeats
lost workers, not deterministic failures.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray import tune

from dwp_sweep.config.node import Node, node_of
from dwp_sweep.errors import DwpSweepError
from dwp_sweep.harness.attempt import Ending, Observer, run_node
from dwp_sweep.harness.dag.slots import Resources
from dwp_sweep.harness.tune.worker_process import prepare_process
from dwp_sweep.stages.contract import Stage
from dwp_sweep.stages.workload import OBJECTIVE_STAGE
from dwp_sweep.store.lease import watched
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import first_line

REPORT_EVERY_S = 0.5


@dataclass(frozen=True)
class TrialContext:
    """What every trial of a run shares; travels to the workers.

    Attributes:
        root: The storage: a folder, or an URL.
        stop_file: Name on the storage of the mark that nodes shall leave at their checkpoints.
        hold_file: Name of the mark that nodes which have not started shall not do so any more.
        folder: Working folder of the driver, for relative paths.
        shapes: Stage -> resources of its trials.
        tracking: What `NodeRun` needs; None: no MLflow.
        stages: Stages by name; None: those of the package.
        run: Name of the run, which has the leases of its nodes; empty: it has none.
        every_epoch: Report each epoch of a target network, because a scheduler decides on it.
        environment: Variables of the driver that say where the storage is, for workers that lack them.
    """

    root: str
    stop_file: str
    folder: str
    shapes: Mapping[str, Resources]
    tracking: Any = None
    stages: Mapping[str, Stage] | None = None
    hold_file: str = ""
    every_epoch: bool = False
    run: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def make_trainable(context: TrialContext) -> Callable[[dict[str, Any]], None]:
    """The function for `tune.Tuner`; a trial's config is ``{"node": key, "stage": name}``."""

    def node(config: dict[str, Any]) -> None:
        run_trial(config["stage"], config["node"], context)

    return node


def run_trial(stage_name: str, key: str, context: TrialContext) -> None:
    """Run one node in this process and report how it ended."""
    for name, value in context.environment.items():
        os.environ.setdefault(name, value)
    store = open_store(context.root, check=False)
    ending = _settled(store, stage_name, key) or _attempt(stage_name, key, store, context)
    if ending.needs_new_process:
        # The failure is recorded; Tune starts a fresh worker, which finds the record and reports it.
        os._exit(1)
    tune.report(
        {"node": key, "published": ending.status == "published", "stopped": ending.status == "stopped"}
        | ({"failure": ending.message} if ending.message else {})
    )


def _settled(store: Store, stage_name: str, key: str) -> Ending | None:
    """Published by another run, or failed in a worker that could not say so (hand-out clears failures)."""
    if store.is_published(stage_name, key):
        return Ending("published")
    record = store.record(stage_name, key)
    if record is None or record.status == "done":
        return None
    return Ending(record.status, first_line(record.error))


def _attempt(stage_name: str, key: str, store: Store, context: TrialContext) -> Ending:
    stop_file = store.mark(context.stop_file)
    if stop_file.exists() or (context.hold_file and store.mark(context.hold_file).exists()):
        return Ending("stopped")
    stage = _stages(context)[stage_name]
    prepare_process(context.shapes[stage_name], context.folder)
    node = _handed_over(stage_name, key, store)
    return run_node(
        node,
        stage,
        store,
        _observer(node, context),
        _reporter(node, context),
        stop_file.exists,
        watched(store, stage_name, key, context.run) if context.run else lambda: True,
    )


def _handed_over(stage_name: str, key: str, store: Store) -> Node:
    try:
        return node_of(store.handed_over(stage_name, key))
    except FileNotFoundError:  # a machine that joined later may lack the storage
        what = f"{socket.gethostname()} does not see the storage {store.place} that the driver uses"
        raise DwpSweepError(what) from None


def _stages(context: TrialContext) -> Mapping[str, Stage]:
    if context.stages is not None:
        return context.stages
    from dwp_sweep.stages.registry import STAGES  # imports torch: in the worker only

    return STAGES


def _observer(node: Node, context: TrialContext) -> Observer | None:
    if context.tracking is None:
        return None
    from dwp_sweep.tracking.write.node_run import NodeRun  # imports mlflow: in the worker only

    return NodeRun(context.tracking, node)


def _reporter(node: Node, context: TrialContext) -> _Reporter:
    is_judged = context.every_epoch and node.stage == OBJECTIVE_STAGE
    return _Reporter(node.key, 0.0 if is_judged else REPORT_EVERY_S)


class _Reporter:
    """Reports epochs to Tune, not more often than a display can use: each report waits for the driver."""

    def __init__(self, key: str, every_s: float = REPORT_EVERY_S) -> None:
        self._key, self._every_s = key, every_s
        self._last_s = float("-inf")

    def __call__(self, epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        if epoch:  # what comes before the first is rare and must not hide it
            if time.monotonic() - self._last_s < self._every_s:
                return
            self._last_s = time.monotonic()
        tune.report({"node": self._key, "epoch": epoch, "n_epochs": n_epochs, "metrics": dict(metrics)})
