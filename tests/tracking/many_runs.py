"""A sweep of many runs, written straight into MLflow's SQLite tables: its client takes 0.1 s a run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

N_SPLITS = 3
N_PARAMS = 40


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


def _write(connection: sqlite3.Connection, experiment_id: str, sweep: str, number: int, n_runs: int) -> None:
    configuration, split = divmod(number, N_SPLITS)
    run_id = f"{sweep[-6:]}{number:026d}"
    _run(connection, experiment_id, run_id, number)
    tags = {
        "dwp.sweep": sweep,
        "dwp.stage": "target",
        "dwp.key": f"{number:020x}",
        "dwp.configuration": f"c{configuration}",
        "dwp.inputs": '{"source": [["source", "ffff0000ffff0000ffff"]]}',
        "dwp.method": ["fine_tune", "random_init"][configuration % 2],
        "dwp.train_size": "5",
        "dwp.split": str(split),
        "dwp.seed": "0",
    }
    params = {"method": tags["dwp.method"], "train_size": "5", "split": str(split), "seed": "0"}
    params |= {"target.lr": repr(1.0 / (1 + configuration))}
    params |= {f"target.value{place}": str(place) for place in range(N_PARAMS)}
    metrics = {
        "best_val_dice": configuration / n_runs + split / 1000,
        "val_dice": 9.0,
        "test_dice": 0.5,
        "wall_s": 3.0,
    }
    metrics |= {f"loss{place}": 0.25 for place in range(6)}
    _values(connection, run_id, tags, params, metrics)


def _source(connection: sqlite3.Connection, experiment_id: str, sweep: str) -> None:
    run_id = f"{sweep[-6:]}source"
    _run(connection, experiment_id, run_id, 0)
    tags = {"dwp.sweep": sweep, "dwp.stage": "source", "dwp.key": "ffff0000ffff0000ffff", "dwp.seed": "0"}
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
