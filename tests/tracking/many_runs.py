"""A sweep of many runs, written straight into MLflow's SQLite tables and into a storage's folders.

MLflow's client takes 0.1 s a run; publishing takes as long.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from dwp_sweep.store.protocol import RECORD, Store
from dwp_sweep.store.record import MANIFEST, Record, json_text, record_values
from dwp_sweep.store.sweep_record import NodeEntry, record_nodes

N_SPLITS = 3
N_PARAMS = 40
SOURCE = "ffff0000ffff0000ffff"


def write_runs(database: Path, experiment_id: str, sweep: str, n_runs: int) -> None:
    """Targets of ``n_runs / 3`` configurations on three splits; configuration c has val_dice c / n + split.

    The last configuration is the best. All of them came from one source network, which is a run too.
    """
    connection = sqlite3.connect(database)
    with connection:
        for number in range(n_runs):
            _write(connection, experiment_id, sweep, number, n_runs)
        _source(connection, experiment_id, sweep)
    connection.close()


def write_records(store: Store, sweep: str, n_runs: int) -> None:
    """The records behind the runs of `write_runs`, and the sweep's list of nodes."""
    source = NodeEntry(SOURCE, "source", "source", {"source": {"weight_decay": 0.003}}, {}, {"seed": 0})
    entries = [source, *(_entry(number) for number in range(n_runs))]
    record_nodes(store, sweep, entries)
    write_record(store, source, {"val_dice": 0.8}, 0)
    for number, entry in enumerate(entries[1:]):
        write_record(store, entry, _metrics(number, n_runs), number)


def write_record(store: Store, entry: NodeEntry, metrics: dict[str, float], started_ms: int) -> None:
    """Publish a node without files."""
    record = Record(
        entry.key, entry.stage, "done", dict(entry.config), labels=dict(entry.labels), metrics=metrics,
        started_ms=started_ms,
    )  # fmt: skip
    folder = store.node_dir(entry.stage, entry.key)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json_text(record_values(record)))
    (folder / MANIFEST).write_text(json.dumps({"key": entry.key, "stage": entry.stage, "files": {}}))


def _entry(number: int) -> NodeEntry:
    tags, params = _tags(number), _params(number)
    target = {name.removeprefix("target."): value for name, value in params.items() if "." in name}
    labels = {name: tags[f"dwp.{name}"] for name in ("method", "train_size", "split", "seed")}
    labels |= {name: int(value) for name, value in labels.items() if name != "method"}
    config = {**labels, "target": {name: json.loads(value) for name, value in target.items()}}
    inputs = {"source": (("source", SOURCE),)}
    return NodeEntry(tags["dwp.key"], "target", f"target {number}", config, inputs, labels, True)


def _metrics(number: int, n_runs: int) -> dict[str, float]:
    configuration, split = divmod(number, N_SPLITS)
    metrics = {
        "best_val_dice": configuration / n_runs + split / 1000,
        "val_dice": 9.0,
        "test_dice": 0.5,
        "wall_s": 3.0,
    }
    return metrics | {f"loss{place}": 0.25 for place in range(6)}


def _tags(number: int) -> dict[str, str]:
    configuration, split = divmod(number, N_SPLITS)
    return {
        "dwp.stage": "target",
        "dwp.record": "digest",
        "dwp.key": f"{number:020x}",
        "dwp.configuration": f"c{configuration}",
        "dwp.inputs": json.dumps({"source": [["source", SOURCE]]}),
        "dwp.method": ["fine_tune", "random_init"][configuration % 2],
        "dwp.train_size": "5",
        "dwp.split": str(split),
        "dwp.seed": "0",
    }


def _params(number: int) -> dict[str, str]:
    configuration, split = divmod(number, N_SPLITS)
    params = {"method": _tags(number)["dwp.method"], "train_size": "5", "split": str(split), "seed": "0"}
    params |= {"target.lr": repr(1.0 / (1 + configuration))}
    return params | {f"target.value{place}": str(place) for place in range(N_PARAMS)}


def _write(connection: sqlite3.Connection, experiment_id: str, sweep: str, number: int, n_runs: int) -> None:
    run_id = f"{sweep[-6:]}{number:026d}"
    _run(connection, experiment_id, run_id, number)
    tags = {"dwp.sweep": sweep, **_tags(number)}
    _values(connection, run_id, tags, _params(number), _metrics(number, n_runs))


def _source(connection: sqlite3.Connection, experiment_id: str, sweep: str) -> None:
    run_id = f"{sweep[-6:]}source"
    _run(connection, experiment_id, run_id, 0)
    tags = {"dwp.sweep": sweep, "dwp.stage": "source", "dwp.key": SOURCE, "dwp.seed": "0"} | {
        "dwp.record": "digest"
    }
    _values(connection, run_id, tags, {"source.weight_decay": "0.003"}, {"val_dice": 0.8})


def _run(connection: sqlite3.Connection, experiment_id: str, run_id: str, started: int) -> None:
    connection.execute(
        "INSERT INTO runs (run_uuid, name, experiment_id, status, start_time, lifecycle_stage, artifact_uri, "
        "source_type, source_name, user_id, entry_point_name) "
        "VALUES (?, ?, ?, 'FINISHED', ?, 'active', ?, 'LOCAL', '', '', '')",
        (run_id, run_id, experiment_id, started, f"file:///nowhere/{run_id}"),
    )


def _values(
    connection: sqlite3.Connection,
    run_id: str,
    tags: dict[str, str],
    params: dict[str, str],
    metrics: dict[str, float],
) -> None:
    def rows(values: dict[str, str]) -> Iterator[tuple[str, str, str]]:
        return ((name, value, run_id) for name, value in values.items())

    connection.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", rows(tags))
    connection.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", rows(params))
    connection.executemany(
        "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
        "VALUES (?, ?, 0, 0, 0, ?)",
        ((name, value, run_id) for name, value in metrics.items()),
    )
