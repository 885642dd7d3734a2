"""Sends MLflow what it lacks of the store: one complete run for every node that is done or has failed.

Called by the driver before and after a sweep, so that an outage of MLflow loses nothing and nodes
that another sweep built get their run here as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dwp_sweep.config.variants import VARIANT
from dwp_sweep.stop_signals import finish_first
from dwp_sweep.store.record import Record
from dwp_sweep.tracking.client import mlflow_client, one_line
from dwp_sweep.tracking.mlflow_format import KEY_TAG, MLFLOW_PARENT, RECORD_TAG, label_tag
from dwp_sweep.tracking.read.runs import search_all
from dwp_sweep.tracking.write.node_run import NodeRun, node_tags, record_digest
from dwp_sweep.tracking.write.pages import run_name
from dwp_sweep.tracking.write.parent import Tracking, close_tracking, reopen

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from dwp_sweep.config.node import Node
    from dwp_sweep.store.protocol import Store

_NAMES = (VARIANT, "trial", "settings")
"""Labels that are no part of a key: the same node may have others in another run of its sweep."""
_ENDED = {"done": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}


@dataclass(frozen=True)
class SyncReport:
    """What `sync_records` did.

    Attributes:
        sent: Nodes whose run was made or completed.
        complete: Nodes whose run was complete already.
        closed: Runs left over as running by a worker that is gone, now ended as killed.
        doubles: Superfluous runs of a node, removed.
        problem: Why it stopped early, if it did.
    """

    sent: int = 0
    complete: int = 0
    closed: int = 0
    doubles: int = 0
    problem: str | None = None


def sync_records(
    tracking: Tracking, nodes: Iterable[Node], store: Store, busy: Collection[str] = ()
) -> SyncReport:
    """Send what MLflow lacks; call it while no node of the sweep is running but those named. Never raises.

    Args:
        tracking: From `open_tracking`; one that was offline is tried again.
        nodes: All nodes of the sweep, parents before children.
        store: Where the records are.
        busy: Keys of nodes that a worker of another run executes; that worker logs them.
    """
    tracking = reopen(tracking)
    if not tracking.online:
        return SyncReport(problem=tracking.problem)
    nodes = list(nodes)
    try:
        client = mlflow_client(tracking.uri)
        runs, doubles = _runs_by_key(client, tracking.experiment_id, {node.key for node in nodes})
        with store.snapshot((node.stage, node.key) for node in nodes):
            return _sync(client, tracking, nodes, store, runs, doubles, busy)
    except Exception as error:  # the sweep's result is in the store; MLflow gets it next time
        return SyncReport(problem=f"MLflow went away: {one_line(error)}")


def _sync(
    client: MlflowClient,
    tracking: Tracking,
    nodes: list[Node],
    store: Store,
    runs: dict[str, Run],
    doubles: int,
    busy: Collection[str],
) -> SyncReport:
    sent = complete = closed = 0
    statuses = []
    for node in nodes:
        record, run = store.record(node.stage, node.key), runs.get(node.key)
        if run is not None:
            _correct_tags(client, run, node, tracking)
        statuses.append(record.status if record else "open")
        if node.key in busy:
            statuses[-1] = "open"
        elif record is None:
            if run is not None and run.info.status in ("RUNNING", "SCHEDULED"):
                client.set_terminated(run.info.run_id, "KILLED")
                closed += 1
        elif run is not None and _mirrors(run, record):
            complete += 1
        else:
            folder = store.fetch(node.stage, node.key, check=False) if record.status == "done" else None
            with finish_first():  # a run that is half sent would stay RUNNING
                is_sent = NodeRun(tracking, node).resend(record, folder)
            if not is_sent:
                problem = "MLflow went away: the rest is sent next time"
                return SyncReport(sent, complete, closed, doubles, problem)
            sent += 1
    if statuses and "open" not in statuses:
        close_tracking(tracking, "FAILED" if "failed" in statuses else "FINISHED")
    return SyncReport(sent, complete, closed, doubles)


def _mirrors(run: Run, record: Record) -> bool:
    return bool(
        run.info.status == _ENDED[record.status] and run.data.tags.get(RECORD_TAG) == record_digest(record)
    )


def _correct_tags(client: MlflowClient, run: Run, node: Node, tracking: Tracking) -> None:
    """Name the parent run, which may have been a double, and what the sweep calls the node today."""
    if run.data.tags.get(MLFLOW_PARENT) != tracking.parent_run_id:
        client.set_tag(run.info.run_id, MLFLOW_PARENT, tracking.parent_run_id)
    wanted = node_tags(tracking, node)
    tags = {tag: wanted.get(tag) for tag in map(label_tag, _NAMES)}
    changed = {tag: value for tag, value in tags.items() if run.data.tags.get(tag) != value}
    for tag, value in changed.items():
        if value is None:
            client.delete_tag(run.info.run_id, tag)
        else:
            client.set_tag(run.info.run_id, tag, value)
    if changed:
        client.update_run(run.info.run_id, name=run_name(node))


def _runs_by_key(client: MlflowClient, experiment_id: str, keys: set[str]) -> tuple[dict[str, Run], int]:
    runs: dict[str, Run] = {}
    doubles = 0
    for run in sorted(search_all(client, experiment_id), key=lambda run: int(run.info.start_time)):
        key = run.data.tags.get(KEY_TAG, "")
        if key not in keys:
            continue
        if key in runs:
            client.delete_run(run.info.run_id)
            doubles += 1
        else:
            runs[key] = run
    return runs, doubles
