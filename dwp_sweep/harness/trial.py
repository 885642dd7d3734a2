"""One trial in whatever process: find the node, prepare the process, attempt it.

All executors share it: `TuneExecutor` calls it in a worker, `InProcessExecutor` in the driver itself. Imports
no stage before it is known which one is needed. A worker process that many nodes use one after another saves
95 % of a trial's start, but keeps what the node before left behind: allocator, threads, memory of the device.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.config.node import node_of
from dwp_sweep.errors import DwpSweepError
from dwp_sweep.harness.attempt import Ending, Report, run_node
from dwp_sweep.harness.dag.resources import Resources, this_machine
from dwp_sweep.harness.dag.unsent import UNSENT_SINCE
from dwp_sweep.stages.contract import Stage
from dwp_sweep.store.lease import watched
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import first_line

if TYPE_CHECKING:
    from dwp_sweep.tracking.write.node_run import NodeRun

MALLOC_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
}
"""glibc keeps large tensors instead of giving them back at every step: 24,000 page faults a step become
none, and a step of 0.13 s takes 0.08 s (3D convolutions in a thread, as Tune runs them). One arena, because
the arenas of threads are too small for large tensors and would still map and unmap them."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


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
        take_any_gpu: Stages that got no GPU because Ray counts none, not because the sweep says so.
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
    take_any_gpu: frozenset[str] = frozenset()


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
    resources = context.resources_by_stage[stage_name]
    has_gpu = resources.gpu > 0 or (stage_name in context.take_any_gpu and _n_gpus() > 0)
    prepare_process(resources, context.folder, hides_gpu)
    try:
        node = node_of(store.handed_over(stage_name, key))
    except FileNotFoundError:  # a machine that joined later may lack the storage
        what = f"{socket.gethostname()} does not see the storage {store.place} that the driver uses"
        raise DwpSweepError(what) from None
    run: NodeRun | None = None
    if context.tracking is not None:
        from dwp_sweep.tracking.write.node_run import NodeRun  # imports mlflow: in the worker only

        run = NodeRun(context.tracking, node)
    ending = run_node(
        node,
        stages[stage_name],
        store,
        run,
        _saying_what_is_unsent(report, run) if run is not None else report,
        stop_file.exists,
        watched(store, stage_name, key, context.run) if context.run else lambda: True,
        has_gpu,
    )
    return replace(ending, is_unsent=run is not None and bool(run.unsent_since_ms))


def _saying_what_is_unsent(report: Report, run: NodeRun) -> Report:
    def reported(epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        since_ms = run.unsent_since_ms
        report(epoch, n_epochs, {**metrics, UNSENT_SINCE: since_ms} if since_ms else metrics)

    return reported


def prepare_process(resources: Resources, folder: str, hides_gpu: bool = True) -> None:
    """Bring the process into a known state before a node.

    Args:
        resources: The trial's resources: threads and share of the GPU.
        folder: Working folder that relative paths of configs refer to; Tune has changed it.
        hides_gpu: Whether a trial that asks for no GPU must not see any.
    """
    keep_large_blocks()
    # Tune resets an actor right after a node: a thread that still tidies up must not fail the next one.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "600"
    if Path(folder).is_dir():
        os.chdir(folder)
    gc.collect()  # what the node before left in reference cycles, e.g. a network on the device
    _spare_libraries()
    if resources.gpu == 0 and hides_gpu:
        # Ray leaves all GPUs visible to a trial that asked for none: Ray would not count its use.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(max(1, int(resources.cpu)))
        if torch.cuda.is_available() and resources.gpu > 0:
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(min(resources.gpu, 1.0))


@functools.cache
def keep_large_blocks() -> None:
    """Do what `MALLOC_ENVIRONMENT` does, where the process was started without it (an existing cluster)."""
    if not sys.platform.startswith("linux") or "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for parameter, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(parameter, value)


@functools.cache
def _n_gpus() -> float:
    """GPUs that this process saw before any was hidden from a trial."""
    return this_machine().gpu


@functools.cache
def _spare_libraries() -> None:
    """Once a process: what torch has loaded lives as long as it does, and each look takes 0.2 s."""
    gc.freeze()
