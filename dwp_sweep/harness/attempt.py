"""One attempt at one node, in any process: run the stage, keep its history, publish or record the failure.

The only place that catches everything a stage can raise. Of MLflow it uses only the methods of an `Observer`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import itertools
import platform
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from dwp_sweep.config.node import Node
from dwp_sweep.errors import DeviceMemoryError, DeviceUnusableError, DwpSweepError, StopTrial, StorageError
from dwp_sweep.harness.dag.failures import FailureKind
from dwp_sweep.passwords import without_secrets
from dwp_sweep.stages.contract import Stage
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import HISTORY, Point, Record, Status, append_point, read_history
from dwp_sweep.strict import StrictModel, parse

if TYPE_CHECKING:
    from dwp_sweep.training.gpu import DeviceWatch

STARTS = "starts.txt"


class Observer(Protocol):
    """Where a node's life is mirrored (MLflow). Must not raise."""

    def start(self) -> None:
        """An attempt begins."""

    def epoch(self, point: Point) -> None:
        """An epoch is done; a resumed node may repeat one, with the same time."""

    def finish(self, record: Record, folder: Path) -> None:
        """The node is published in ``folder``."""

    def fail(self, record: Record) -> None:
        """The node failed."""

    def stop(self) -> None:
        """The node leaves at its checkpoint, to be continued by a later run."""

    def prune(self, record: Record) -> None:
        """The node was given up by a search."""


Report = Callable[[int, int, Mapping[str, float]], None]
"""``(epoch, n_epochs, metrics)``: how far the node is; epoch 0 while it reads scans."""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        status: ``published``, ``failed`` and ``pruned`` (both recorded), or ``stopped`` (at its checkpoint).
        message: One line for ``failed`` and ``pruned``.
        needs_new_process: The process should not be used again (its device ran out of memory or failed).
        is_unsent: MLflow lacks the end.
    """

    status: Literal["published", "failed", "pruned", "stopped"]
    message: str = ""
    needs_new_process: bool = False
    is_unsent: bool = False


def run_node(
    node: Node,
    stage: Stage,
    store: Store,
    observer: Observer | None = None,
    report: Report = lambda epoch, n_epochs, metrics: None,
    must_stop: Callable[[], bool] = lambda: False,
    holds_lease: Callable[[], bool] = lambda: True,
    has_gpu: bool = False,
) -> Ending:
    """Run a node and publish it.

    Args:
        node: The node; its inputs must be published.
        stage: Its stage.
        store: Where it reads and publishes.
        observer: Mirrors the node's life; None: nothing does.
        report: Called after every epoch, and while scans are read.
        must_stop: Called as often; the stage leaves at its checkpoint when it returns True.
        holds_lease: Called as often and before anything is published: where another run has taken the node
            over, this attempt leaves and writes nothing more.
        has_gpu: Whether the process has a GPU for this node: one that torch cannot use is a failure.

    Returns:
        How it ended; never raises what a stage raised.
    """
    attempt = _Attempt(node, stage, store, observer, report, must_stop, holds_lease, has_gpu)
    out_dirs: list[Path] = []
    try:
        out_dirs.append(store.new_out_dir(node.stage, node.key))
        return attempt.run(out_dirs[0])
    except _DeposedError:
        return attempt.leave()
    except StopTrial:
        reason = store.prune_reason(node.stage, node.key)
        return attempt.stop() if reason is None else attempt.prune(reason)
    except Exception as error:
        if store.is_published(node.stage, node.key):
            return Ending("published")  # by another run, which has tidied this one's working folder away
        return attempt.fail(error) if holds_lease() else attempt.leave()
    finally:
        for out_dir in out_dirs:
            shutil.rmtree(out_dir, ignore_errors=True)


class _DeposedError(Exception):
    """Another run has taken the node over. No `StopTrial`: on that one a stage may write a checkpoint."""


@dataclass
class _Attempt:
    node: Node
    stage: Stage
    store: Store
    observer: Observer | None
    report: Report
    must_stop: Callable[[], bool]
    holds_lease: Callable[[], bool]
    has_gpu: bool
    watch: DeviceWatch | None = None
    config: StrictModel | None = None
    points: dict[int, Point] = field(default_factory=dict)
    last_step: int = 0
    has_begun: bool = False

    @property
    def work_dir(self) -> Path:
        return self.store.work_dir(self.node.stage, self.node.key)

    def run(self, out_dir: Path) -> Ending:
        if self.must_stop():
            raise StopTrial("the run is stopping")
        self.store.take_work(self.node.stage, self.node.key)
        with (self.work_dir / STARTS).open("a") as file:
            file.write(f"{_now_ms()}\n")
        self.points = {point.step: point for point in read_history(self.work_dir / HISTORY)}
        self.has_begun = True
        if self.observer:
            self.observer.start()
        self._leave_if_pruned()
        self._look_at_device()
        self.config = parse(self.stage.config, self.node.config, self.node.title)
        inputs = {
            role: tuple(self.store.fetch(parent_stage, key) for parent_stage, key in pairs)
            for role, pairs in self.node.inputs.items()
        }
        metrics = self.stage.run(self.config, inputs, self.work_dir, out_dir, self._emit)
        record = self._record("done", dict(metrics))
        self._leave_if_deposed()
        folder = self.store.publish(out_dir, record)
        if self.observer:
            self.observer.finish(record, folder)
        return Ending("published")

    def _look_at_device(self) -> None:
        """Remember what was computed on GPUs before; a node that has one must be able to use it."""
        compute = self.node.config.get("compute")
        if compute is None:
            return  # nothing is computed by torch
        from dwp_sweep.training.gpu import DeviceWatch, gpu_trouble  # imports torch: in the worker only

        if self.has_gpu and compute.get("device") != "cpu" and (trouble := gpu_trouble()):
            fix = f"repair it, or set resources.{self.node.stage}.gpu: 0 to compute on CPUs"
            raise DeviceUnusableError(f"this worker has a GPU that torch cannot use: {trouble}; {fix}")
        self.watch = DeviceWatch()

    def leave(self) -> Ending:
        """The node is another run's now, and so is its mirror image."""
        is_published = self.store.is_published(self.node.stage, self.node.key)
        return Ending("published" if is_published else "stopped", "another run has taken it over")

    def stop(self) -> Ending:
        if self.has_begun:
            self._keep_work(at_once=True)
            if self.observer:
                self.observer.stop()
        return Ending("stopped")

    def prune(self, reason: str) -> Ending:
        self.points = self.points or {p.step: p for p in read_history(self.work_dir / HISTORY)}
        last = self.points[max(self.points)].metrics if self.points else {}
        record = self._record("pruned", dict(last), reason)
        self.store.write_failure(record)
        if self.observer and self.has_begun:
            self.observer.prune(record)
        return Ending("pruned", reason)

    def fail(self, error: Exception) -> Ending:
        message = describe(error)
        if self.has_begun:
            self._keep_work(at_once=True)
        trace = without_secrets("".join(traceback.format_exception(error)))
        record = self._record("failed", {}, f"{message}\n\n{trace}")
        record = replace(record, failure=failure_kind(error))
        with contextlib.suppress(OSError):  # a full disk: the run reports the failure all the same
            self.store.write_failure(record)
        if self.observer:
            self.observer.fail(record)
        # After either, the process's device context may fail every later node.
        spoils_process = isinstance(error, DeviceMemoryError) or "CUDA error" in str(error)
        return Ending("failed", message, spoils_process)

    def _emit(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self._leave_if_deposed()
        values = {name: float(value) for name, value in metrics.items()}
        if step:
            self._keep(step, values)
        self.report(step, self.stage.n_steps(self.config), values)
        self._keep_work()
        self._leave_if_pruned()
        if self.must_stop():
            raise StopTrial("the run is stopping")

    def _keep(self, step: int, values: dict[str, float]) -> None:
        point = self.points.get(step)
        if point is None or point.metrics != values:
            point = Point(step, _now_ms(), values)
            append_point(self.work_dir / HISTORY, point)
        # An epoch that an earlier attempt has kept is mirrored with its own time: replay adds nothing.
        self.points[step] = point
        self.last_step = max(self.last_step, step)
        if self.observer:
            self.observer.epoch(point)

    def _leave_if_deposed(self) -> None:
        if not self.holds_lease():
            raise _DeposedError

    def _keep_work(self, at_once: bool = False) -> None:
        # A network that fails for a while costs no training: what was not kept is kept after the next epoch.
        with contextlib.suppress(StorageError):
            self.store.keep_work(self.node.stage, self.node.key, at_once)

    def _leave_if_pruned(self) -> None:
        if self.store.prune_reason(self.node.stage, self.node.key) is not None:
            raise StopTrial("the search gave it up")

    def _record(self, status: Status, metrics: dict[str, float], error: str | None = None) -> Record:
        history = tuple(
            self.points[step] for step in sorted(self.points) if step <= self.last_step or not self.last_step
        )
        try:
            starts = [int(line) for line in (self.work_dir / STARTS).read_text().split()]
        except (OSError, ValueError):
            starts = []
        wall_s = _wall_s(starts, read_history(self.work_dir / HISTORY))
        return Record(
            key=self.node.key,
            stage=self.node.stage,
            status=status,
            config=dict(self.node.config),
            inputs={role: [key for _, key in pairs] for role, pairs in self.node.inputs.items()},
            labels=dict(self.node.labels),
            metrics={**metrics, "wall_s": wall_s},
            history=history,
            started_ms=starts[0] if starts else _now_ms(),
            wall_s=wall_s,
            versions=dict(_versions()),
            host=socket.gethostname(),
            error=error,
            device=self.watch.device() if self.watch is not None else "",
        )


def describe(error: Exception) -> str:
    """One line for people: our own errors speak for themselves, others with their type."""
    lines = without_secrets(str(error)).strip().splitlines()
    if isinstance(error, DwpSweepError):
        return "; ".join(lines) or type(error).__name__
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def failure_kind(error: Exception) -> FailureKind:
    """Which kind of failure an error of a stage is."""
    if isinstance(error, DeviceMemoryError):
        return "gpu_memory"
    if isinstance(error, DeviceUnusableError):
        return "no_gpu"
    return "memory" if isinstance(error, MemoryError) else "error"


def _wall_s(starts: list[int], history: tuple[Point, ...]) -> float:
    """Seconds of all attempts: a lost one counts up to its last epoch, the present one up to now."""
    if not starts:
        return 0.0
    total_ms = _now_ms() - starts[-1]
    for start, next_start in itertools.pairwise(starts):
        total_ms += max((p.time_ms - start for p in history if start <= p.time_ms < next_start), default=0)
    return total_ms / 1000


@functools.cache
def _versions() -> Mapping[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("dwp_sweep", "torch", "monai", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
