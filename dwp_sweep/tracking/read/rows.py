"""One row a node, whether read from MLflow or from the records of a store.

Everything that answers questions (best configuration, tables) works on rows and so gives the same answer
from either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from dwp_sweep.config.variants import VARIANT
from dwp_sweep.store.record import UNREADABLE
from dwp_sweep.strict import json_of
from dwp_sweep.tracking.mlflow_format import (
    ERROR_TAG,
    INPUTS_TAG,
    KEY_TAG,
    LABELS,
    PRUNED_TAG,
    STAGE_TAG,
    decode,
    encode,
    flatten,
    label_tag,
    public_config,
    public_labels,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

    from dwp_sweep.config.node import Node
    from dwp_sweep.store.protocol import Store
    from dwp_sweep.store.record import Record
    from dwp_sweep.store.sweep_record import NodeEntry

State = Literal["done", "failed", "running", "stopped", "pruned", "blocked", "missing"]

_STATES: dict[str, State] = {"FINISHED": "done", "FAILED": "failed", "KILLED": "stopped"}


@dataclass(frozen=True)
class NodeRow:
    """What is known of one node.

    Attributes:
        key: The node's key; empty for runs made by hand.
        stage: Its stage.
        state: ``blocked``: a node that it needs has failed; ``missing``: it has no record yet;
            ``pruned``: a search gave it up.
        labels: ``method``, ``variant``, ``train_size``, ``split``, ``seed``, ``group`` where they apply;
            a variant is a name in a search space, or several, joined by " | ".
        params: Resolved config by dotted name, under the keys of a search space.
        metrics: Last value of each metric.
        inputs: Role -> ((stage, key), ...).
        run_id: Of the MLflow run; empty where read from a store.
        artifacts: URI or folder of its files.
        started_ms: Unix time.
        error: One line, for failed nodes.
    """

    key: str
    stage: str
    state: State
    labels: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    run_id: str = ""
    artifacts: str = ""
    started_ms: int = 0
    error: str = ""

    def metric(self, name: str) -> float | None:
        """A metric of the network that was handed over: ``best_<name>`` where there is one."""
        return self.metrics.get(f"best_{name}", self.metrics.get(name))


def row_of_run(run: Run) -> NodeRow:
    """A node's row from its MLflow run; a run without a stage tag counts as a target."""
    tags, params = run.data.tags, {name: decode(text) for name, text in run.data.params.items()}
    labels = {name: decode(tags[label_tag(name)]) for name in LABELS if label_tag(name) in tags}
    # A name stays one, whatever it looks like.
    labels |= {name: tags[label_tag(name)] for name in (VARIANT, "settings") if name in labels}
    if KEY_TAG not in tags:  # made by hand: parameters may say what tags do not
        labels = {name: params[name] for name in LABELS if name in params} | labels
    labels = {name: value for name, value in labels.items() if not isinstance(value, list | dict)}
    was_pruned = run.info.status == "KILLED" and tags.get(PRUNED_TAG) == "true"
    return NodeRow(
        key=tags.get(KEY_TAG, ""),
        stage=tags.get(STAGE_TAG, "target"),
        state="pruned" if was_pruned else _STATES.get(run.info.status, "running"),
        labels=labels,
        params=params,
        metrics=dict(run.data.metrics),
        inputs=inputs_of(tags.get(INPUTS_TAG, "")),
        run_id=run.info.run_id,
        artifacts=run.info.artifact_uri or "",
        started_ms=int(run.info.start_time or 0),
        error=tags.get(ERROR_TAG, ""),
    )


def rows_of_store(nodes: Iterable[Node], store: Store) -> list[NodeRow]:
    """Rows of a sweep's nodes (parents before children) from the store's records."""
    nodes = list(nodes)
    rows: dict[str, NodeRow] = {}
    with store.snapshot((node.stage, node.key) for node in nodes):
        for node in nodes:
            row, record = row_of_node(node), store.record(node.stage, node.key)
            if record is not None:
                is_done = record.status == "done"
                row = row_of_record(row, record, f"{store.place}/{node.stage}/{node.key}" if is_done else "")
            elif any(key in rows and rows[key].state in ("failed", "blocked") for _, key in node.parents):
                row = replace(row, state="blocked")
            rows[node.key] = row
    return list(rows.values())


def row_of_node(node: Node | NodeEntry) -> NodeRow:
    """What is known of a node before it has a record."""
    params = flatten(public_config(node.stage, node.config))
    return NodeRow(node.key, node.stage, "missing", public_labels(node.labels), params, inputs=node.inputs)


def row_of_record(row: NodeRow, record: Record, artifacts: str = "") -> NodeRow:
    """A node's row with what its record says: how it ended and what it measured last."""
    metrics = {name: value for point in record.history for name, value in point.metrics.items()}
    return replace(
        row,
        state=record.status,
        metrics=metrics | record.metrics,
        artifacts=artifacts,
        started_ms=record.started_ms,
        error=(record.error or "").strip().partition("\n")[0],
    )


def as_logged(row: NodeRow) -> NodeRow:
    """A row with settings and labels as MLflow gives them back: long values are cut there."""
    labels = {name: decode(str(value)) for name, value in row.labels.items() if value is not None}
    labels |= {name: str(row.labels[name]) for name in (VARIANT, "settings") if name in labels}
    labels = {name: value for name, value in labels.items() if name in LABELS}
    return replace(
        row, labels=labels, params={name: decode(encode(value)) for name, value in row.params.items()}
    )


def inputs_of(text: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """A node's inputs from their JSON text: role -> ((stage, key), ...)."""
    try:
        values = json_of(text) if text else {}
        return {role: tuple((str(stage), str(key)) for stage, key in pairs) for role, pairs in values.items()}
    except UNREADABLE:
        return {}  # of a run that was edited by hand
