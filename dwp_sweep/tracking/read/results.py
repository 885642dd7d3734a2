"""All nodes of a sweep as one pandas table, from MLflow or from a store.

The table behind `dwp_sweep.results` and the reports. Every node is a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.tracking.mlflow_format import LABELS
from dwp_sweep.tracking.read.configuration import configurations
from dwp_sweep.tracking.read.reader import open_sweep
from dwp_sweep.tracking.read.rows import NodeRow, rows_of_store

if TYPE_CHECKING:
    import pandas

    from dwp_sweep.config.node import Node
    from dwp_sweep.store.protocol import Store

COLUMNS = ("stage", "state", *LABELS, "configuration", "key", "run_id", "started", "artifacts", "error")


def results(
    sweep: str, tracking_uri: str | None = None, storage: str | Path | None = None
) -> pandas.DataFrame:
    """All nodes of a sweep that MLflow knows, oldest first.

    Args:
        sweep: Name of the sweep.
        tracking_uri: None takes ``MLFLOW_TRACKING_URI``, else the database under ``./dwp_runs``.
        storage: As for `best_config`.

    Returns:
        One row a node: ``stage``, ``state`` (done, failed, running, stopped, blocked, missing),
        ``method``, ``variant`` (its name in the search space, several joined by " | ", else None),
        ``train_size``, ``split``, ``seed``, ``group``, ``configuration`` (equal for rows that differ in
        split and seed alone), ``key``, ``run_id``, ``started``, ``artifacts``, ``error``, then every
        metric under its name and every setting as ``params.<dotted name>``.

    Raises:
        InputError: No such sweep, or no MLflow there.
    """
    with open_sweep(sweep, tracking_uri, storage) as reader:
        return frame_of_rows(reader.rows())


def results_of_store(nodes: Iterable[Node], store: Store) -> pandas.DataFrame:
    """The same table from the records of a store; nodes that have none are rows too."""
    return frame_of_rows(rows_of_store(nodes, store))


def frame_of_rows(rows: Iterable[NodeRow]) -> pandas.DataFrame:
    """Rows as a table; see `results` for its columns."""
    import pandas

    rows = list(rows)
    configuration_by_index = configurations(rows)
    values = [_values(row, configuration_by_index[index].identity) for index, row in enumerate(rows)]
    metrics = sorted({name for row in rows for name in row.metrics})
    params = sorted({f"params.{name}" for row in rows for name in row.params})
    table = pandas.DataFrame(
        values, columns=[*COLUMNS, *(name for name in metrics if name not in COLUMNS), *params]
    )
    for name in ("train_size", "split", "seed", "group"):
        table[name] = pandas.to_numeric(table[name], errors="coerce").astype("Int64")
    table["started"] = pandas.to_datetime(table["started"], unit="ms", utc=True)
    return table


def _values(row: NodeRow, configuration: str) -> dict[str, Any]:
    values: dict[str, Any] = {f"params.{name}": value for name, value in row.params.items()}
    values |= row.metrics
    values |= {name: row.labels.get(name) for name in LABELS}
    return values | {
        "stage": row.stage,
        "state": row.state,
        "configuration": configuration,
        "key": row.key,
        "run_id": row.run_id,
        "started": row.started_ms or None,
        "artifacts": row.artifacts,
        "error": row.error,
    }
