"""One trial in whatever process: find the node, prepare the process, attempt it.

All executors share it: `tune` calls it in a worker, `here` in the driver itself. Imports no stage before it
is known which one is needed.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dwp_sweep.config.node import node_of
from dwp_sweep.errors import DwpSweepError
from dwp_sweep.harness.attempt import Ending, Observer, Report, run_node
from dwp_sweep.harness.dag.slots import Resources
from dwp_sweep.harness.tune.worker_process import prepare_process
from dwp_sweep.stages.contract import Stage
from dwp_sweep.store.lease import watched
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import first_line


@dataclass(frozen=True)
class TrialContext:
    """What every trial of a run shares; travels to the workers.

    Attributes:
        root: The storage: a folder, or an URL.
        stop_file: Name on the storage of the mark at which nodes leave at their checkpoints.
        hold_file: Name of the mark at which nodes that have not started do not start.
        folder: Working folder of the driver, for relative paths.
        resources_by_stage: Stage -> resources of its trials.
        tracking: What `NodeRun` needs; None: no MLflow.
        stages: Stages by name; None: those of the package.
        run: Name of the run, which has the leases of its nodes; empty: it has none.
        every_epoch: Report each epoch of a network that a search compares: a scheduler decides on it.
        is_shared_process: Nodes of all stages are computed in this one process.
        environment: Variables of the driver that say where the storage is, for workers that lack them.
    """

    root: str
    stop_file: str
    folder: str
    resources_by_stage: Mapping[str, Resources]
    tracking: Any = None
    stages: Mapping[str, Stage] | None = None
    hold_file: str = ""
    every_epoch: bool = False
    run: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    is_shared_process: bool = False


def run_trial(stage_name: str, key: str, store: Store, context: TrialContext, report: Report) -> Ending:
    """Run a node in this process, unless it has ended already.

    Args:
        stage_name: Name of its stage.
        key: Of the node, which was handed over on the storage.
        store: The storage.
        context: Of the run.
        report: Receives how far the node is.
    """
    if store.is_published(stage_name, key):
        return Ending("published")  # by another run
    record = store.record(stage_name, key)
    if record is not None and record.status != "done":
        # It ended in a worker that could not report it: hand-out clears the failures of earlier runs.
        return Ending(record.status, first_line(record.error))
    stop_file = store.mark(context.stop_file)
    if stop_file.exists() or (context.hold_file and store.mark(context.hold_file).exists()):
        return Ending("stopped")
    stages = context.stages
    if stages is None:
        from dwp_sweep.stages import registry  # imports torch: in the worker only

        stages = registry.STAGES
    # A device that is hidden once stays so: in a shared process only where no stage takes it.
    hides_gpu = not context.is_shared_process or not any(
        resources.gpu for resources in context.resources_by_stage.values()
    )
    prepare_process(context.resources_by_stage[stage_name], context.folder, hides_gpu)
    try:
        node = node_of(store.handed_over(stage_name, key))
    except FileNotFoundError:  # a machine that joined later may lack the storage
        what = f"{socket.gethostname()} does not see the storage {store.place} that the driver uses"
        raise DwpSweepError(what) from None
    observer: Observer | None = None
    if context.tracking is not None:
        from dwp_sweep.tracking.write.node_run import NodeRun  # imports mlflow: in the worker only

        observer = NodeRun(context.tracking, node)
    return run_node(
        node,
        stages[stage_name],
        store,
        observer,
        report,
        stop_file.exists,
        watched(store, stage_name, key, context.run) if context.run else lambda: True,
    )
