"""One MLflow run for one node: its key identifies it, so a restart continues it and never doubles it.

Used by workers while a node runs and by `sync` for what MLflow missed. The record in the store is the
truth; this mirrors it. No error of MLflow is raised: the first one is logged as a warning, the node goes on
and keeps its epochs, which are sent once MLflow answers again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.errors import visible
from dwp_sweep.store.record import Point, Record
from dwp_sweep.tables import markdown_block
from dwp_sweep.tracking.client import mlflow_client, one_line
from dwp_sweep.tracking.mlflow_format import (
    CONFIGURATION_TAG,
    ERROR_TAG,
    INPUTS_TAG,
    KEY_TAG,
    MAX_CHARS,
    MLFLOW_PARENT,
    NOTE_TAG,
    PRUNED_TAG,
    RECORD_TAG,
    STAGE_TAG,
    SWEEP_TAG,
    encode,
    flatten,
    label_tag,
    public_config,
    public_labels,
)
from dwp_sweep.tracking.read.configuration import REPEATS, changes_results
from dwp_sweep.tracking.read.runs import find_runs
from dwp_sweep.tracking.write import outage
from dwp_sweep.tracking.write.pages import log_lineage, remove_output, run_name
from dwp_sweep.tracking.write.parent import Tracking, rejoin

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from dwp_sweep.config.node import Node

log = logging.getLogger(__name__)

_METRICS_PER_BATCH = 900
_PARAMS_PER_BATCH = 90


class NodeRun:
    """The MLflow run of a node.

    Args:
        tracking: From `open_tracking`.
        node: The node.
        flush_s: Epochs that end sooner after the last batch of metrics travel with the next one, so
            that fast epochs do not wait for MLflow; each keeps its own step and time.
    """

    def __init__(self, tracking: Tracking, node: Node, flush_s: float = 1.0) -> None:
        self.tracking, self.node = tracking, node
        self.problem: str | None = None
        self.run_id = ""
        self._has_run = self._lacks_something = self._asks_always = False
        self._flush_s, self._flushed_s = flush_s, 0.0
        self._pending: list[Point] = []
        self._saw_all = False
        if not tracking.online:
            outage.was_away(tracking.uri, round(1000 * tracking.opened_s), tracking.problem or "")

    @property
    def online(self) -> bool:
        """Whether MLflow answers, as far as this process knows."""
        return outage.outage_of(self.tracking.uri) is None

    @property
    def unsent_since_ms(self) -> int:
        """Unix time since when MLflow lacks something of the node; 0 where it has everything."""
        known = outage.outage_of(self.tracking.uri)
        return known.since_ms if known is not None and self._lacks_something else 0

    def start(self, started_ms: int | None = None) -> None:
        """Find the node's run in the experiment, or make it."""
        self._attempt(lambda: self._start(started_ms))

    def epoch(self, point: Point) -> None:
        """Log one epoch's metrics, with the point's own time."""
        self._pending.append(point)
        if time.monotonic() - self._flushed_s >= self._flush_s:
            self._attempt(self._flush)

    def finish(self, record: Record, folder: Path) -> None:
        """Log final metrics, files and lineage of a published node, and end its run.

        Args:
            record: The node's record.
            folder: Its published folder; every file but the manifest becomes an artifact.
        """
        self._attempt(lambda: self._end(record, "FINISHED", {}, folder))

    def fail(self, record: Record) -> None:
        """Log the end of a failed attempt: its last metrics and the error."""
        error = self.tracking.privacy.message(visible(record.error or "no message"))
        first_line = error.strip().partition("\n")[0][:1_000]
        tags = {ERROR_TAG: first_line, NOTE_TAG: markdown_block(error[-6_000:])}
        self._attempt(lambda: self._end(record, "FAILED", tags))

    def stop(self) -> None:
        """End the run as ``KILLED``: the node was asked to leave and will be continued."""
        self._attempt(self._stop)

    def prune(self, record: Record) -> None:
        """Log the end of a node that a search gave up: its run is ``KILLED`` and tagged."""
        why = self.tracking.privacy.message(visible(record.error or ""))
        tags = {PRUNED_TAG: "true", NOTE_TAG: markdown_block(why)}
        self._attempt(lambda: self._end(record, "KILLED", tags))

    def resend(self, record: Record, folder: Path | None) -> bool:
        """Send a whole record again; what MLflow has already is not doubled. True if all arrived."""
        self._asks_always = True
        self.start(record.started_ms or None)
        self._saw_all = False
        if self._lacks_something:
            return False
        if record.status == "pruned":
            self.prune(record)
        elif folder is None:
            self.fail(record)
        else:
            self.finish(record, folder)
        return not self._lacks_something

    def _attempt(self, action: Callable[[], None]) -> None:
        self._lacks_something = True
        if not (self._asks_always or outage.may_ask(self.tracking.uri)):
            return
        begun_s = time.monotonic()
        try:
            if not self.tracking.online:
                self.tracking = rejoin(self.tracking)
            action()
        except Exception as error:  # tracking must never end or fail a training, whatever it raises
            self.problem = one_line(error)
            # MLflow may have lost the run with its database: the next request looks for it once more.
            self._has_run = False
            if outage.failed(self.tracking.uri, self.problem, time.monotonic() - begun_s):
                what = "MLflow does not answer (%s): %s goes on, and sends its epochs once it does"
                log.warning(what, self.problem, self.node.title)
            return
        outage.answered(self.tracking.uri)
        self._lacks_something, self.problem = False, None

    @cached_property
    def _client(self) -> MlflowClient:
        return mlflow_client(self.tracking.uri)

    def _start(self, started_ms: int | None) -> None:
        if self._has_run:
            return
        runs = find_runs(self._client, self.tracking.experiment_id, self.node.key)
        if runs and runs[0].info.status == "FINISHED" and RECORD_TAG in runs[0].data.tags:
            # The node was built before and damaged since: values of that run would stand beside the new ones.
            remove_output(self._client, self.tracking.experiment_id, self.node)
            self._client.delete_run(runs.pop(0).info.run_id)
        if runs:
            run_id = str(runs[0].info.run_id)
            if runs[0].info.status != "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
            known = set(runs[0].data.params)
        else:
            run = self._client.create_run(
                self.tracking.experiment_id,
                start_time=started_ms,
                tags=node_tags(self.tracking, self.node),
                run_name=run_name(self.node),
            )
            run_id, known = str(run.info.run_id), set()
        self._saw_all = not runs
        self._log_params(run_id, known)
        self.run_id, self._has_run = run_id, True  # where a request fails before, all of them are repeated

    def _log_params(self, run_id: str, known: set[str]) -> None:
        from mlflow.entities import Param

        # Parameters of a run cannot change, and unkeyed ones (a data folder that moved) may differ.
        # What the sweep asks about and upstream nodes read stands with the target too: pages compare by it.
        asked = self.node.labels.get("settings") or {} if self.node.stage == "target" else {}
        values = {**asked, **flatten(public_config(self.node.stage, self.node.config))}
        shown = self.tracking.privacy.values(values)
        params = [Param(name, encode(value)) for name, value in shown.items() if name not in known]
        for start in range(0, len(params), _PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS_PER_BATCH])

    def _flush(self) -> None:
        self._start(None)
        self._log_metrics(self._pending)
        self._pending = []
        self._flushed_s = time.monotonic()

    def _log_metrics(self, points: Iterable[Point], tags: dict[str, str] | None = None) -> None:
        from mlflow.entities import Metric, RunTag

        metrics = [
            Metric(name, float(value), point.time_ms, point.step)
            for point in points
            for name, value in point.metrics.items()
        ]
        batches = [
            metrics[start : start + _METRICS_PER_BATCH]
            for start in range(0, len(metrics), _METRICS_PER_BATCH)
        ]
        for batch in batches:
            self._client.log_batch(self.run_id, metrics=batch)
        if tags:
            self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _stop(self) -> None:
        self._flush()
        self._client.set_terminated(self.run_id, "KILLED")

    def _missing_points(self, record: Record) -> list[Point]:
        # A run that an earlier worker began may lack epochs that never arrived; equal points are not doubled.
        points = self._pending if self._saw_all else list(record.history)
        self._pending = []
        last_step = record.history[-1].step if record.history else 0
        # What a pruned network had after its last epoch is that epoch's already.
        known = record.history[-1].metrics if record.status == "pruned" and record.history else {}
        final = {name: value for name, value in record.metrics.items() if name not in known}
        return [*points, Point(last_step, end_ms(record), final)]

    def _log_files(self, folder: Path) -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            place = path.relative_to(folder)
            if place.as_posix() == "manifest.json":
                continue
            self._client.log_artifact(
                self.run_id, str(path), None if len(place.parts) == 1 else place.parent.as_posix()
            )

    def _end(self, record: Record, status: str, tags: dict[str, str], folder: Path | None = None) -> None:
        """Send what of the record MLflow lacks, its files where it has any, and end the run."""
        client = self._client
        self._start(record.started_ms or None)
        self._log_metrics(self._missing_points(record))
        if folder is not None:
            with self.tracking.privacy.public(folder) as public:
                self._log_files(public)
            shown = self.tracking.privacy.values
            log_lineage(client, self.tracking.experiment_id, self.run_id, self.node, shown)
        old = client.get_run(self.run_id).data.tags
        for name in (ERROR_TAG, NOTE_TAG, PRUNED_TAG):
            if name in old and name not in tags:
                client.delete_tag(self.run_id, name)
        # The digest says that all of the record arrived; it comes after everything else.
        self._log_metrics((), tags | {RECORD_TAG: record_digest(record)})
        client.set_terminated(self.run_id, status, end_time=end_ms(record))


def node_tags(tracking: Tracking, node: Node) -> dict[str, str]:
    """The tags by which a node's run is found, nested and read."""
    tags = {
        MLFLOW_PARENT: tracking.parent_run_id,
        "mlflow.source.name": "dwp_sweep",
        SWEEP_TAG: tracking.sweep_name,
        KEY_TAG: node.key,
        STAGE_TAG: node.stage,
        CONFIGURATION_TAG: _configuration(node),
        INPUTS_TAG: json.dumps({role: [list(pair) for pair in pairs] for role, pairs in node.inputs.items()}),
    }
    labels = public_labels(node.labels)
    return tags | {
        label_tag(name): str(value)[:MAX_CHARS] for name, value in labels.items() if value is not None
    }


def _configuration(node: Node) -> str:
    """Hash of what decides the result, split and seed aside; input keys stand for all that is upstream."""
    own = flatten(public_config(node.stage, node.config))
    values = {name: own[name] for name in own if name not in REPEATS and changes_results(name)}
    inputs = {role: [key for _, key in pairs] for role, pairs in node.inputs.items()}
    text = json.dumps([node.stage, values, inputs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def record_digest(record: Record) -> str:
    """Says whether a run mirrors this record: hash of its end, metrics and history."""
    values: list[Any] = [record.key, record.status, record.metrics, record.error]
    values.append([asdict(point) for point in record.history])
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:20]


def end_ms(record: Record) -> int:
    """When a node's last attempt ended, as far as its record tells (Unix time)."""
    last = record.history[-1].time_ms if record.history else 0
    return max(last, record.started_ms + round(1000 * record.wall_s))
