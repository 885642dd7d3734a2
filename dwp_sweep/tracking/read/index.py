"""An index of a large sweep's results, kept beside it: what each node is, how it ended, what it measured.

``sweeps/<name>/index.sqlite`` under the storage's local folder holds a row a node, made from the sweep's list
of nodes and their records, and the MLflow run of a node once that is known. It is a cache: brought up to date
when it is opened, by the records that are new or changed alone, and made again where it is damaged or of
another format. MLflow itself takes minutes to return tens of thousands of runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dwp_sweep.store.sweep_record import NODES, NodeEntry, recorded_nodes, sweep_path
from dwp_sweep.tracking.mlflow_format import KEY_TAG
from dwp_sweep.tracking.read.configuration import Configuration, configuration_of
from dwp_sweep.tracking.read.rows import NodeRow, State, as_logged, inputs_of, row_of_node, row_of_record

if TYPE_CHECKING:
    from mlflow.entities import Run

    from dwp_sweep.store.protocol import Store

INDEX_FILE = "index.sqlite"
FORMAT = 1
_CHUNK = 500
_WAIT_S = 30.0
_SCHEMA = f"""
CREATE TABLE nodes (
    key TEXT PRIMARY KEY, place INTEGER, stage TEXT, entry TEXT, configuration TEXT,
    labels TEXT, params TEXT, inputs TEXT, state TEXT, mark REAL, started_ms INTEGER, error TEXT
) WITHOUT ROWID;
CREATE TABLE metrics (name TEXT, key TEXT, value REAL, PRIMARY KEY (name, key)) WITHOUT ROWID;
CREATE INDEX metrics_of_node ON metrics (key);
CREATE TABLE configurations (identity TEXT PRIMARY KEY, settings TEXT) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE runs (key TEXT PRIMARY KEY, run_id TEXT, artifacts TEXT) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
"""


@contextlib.contextmanager
def open_index(store: Store, sweep: str) -> Iterator[ResultIndex]:
    """The index of a recorded sweep, up to date with the storage's records; closed at the end.

    Where no file can be kept beside the sweep (a storage that is only read, a file system without locks), it
    is made in memory.
    """
    path = sweep_path(store, sweep) / INDEX_FILE
    try:
        index = _updated(path, store, sweep)
    except sqlite3.OperationalError:
        index = _updated(None, store, sweep)
    except (sqlite3.DatabaseError, ValueError):  # ValueError: a damaged row is no JSON
        index = _updated(_without_file(path), store, sweep)
    try:
        yield index
    finally:
        index.close()


def _updated(path: Path | None, store: Store, sweep: str) -> ResultIndex:
    index = ResultIndex(path)
    try:
        index.update(store, sweep)
    except BaseException:
        index.close()
        raise
    return index


def _without_file(path: Path) -> Path | None:
    try:
        path.unlink()
    except OSError:
        return None
    return path


class ResultIndex:
    """Rows of a sweep's nodes in a database of their own.

    Args:
        path: Of the file, whose folder exists; None keeps everything in memory.

    Raises:
        sqlite3.Error: The file is no index of this format, or cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self._db = sqlite3.connect(path or ":memory:", timeout=_WAIT_S)
        try:
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            is_empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if is_empty:
                self._db.executescript(_SCHEMA)
            elif version != FORMAT:
                raise sqlite3.DatabaseError(f"{path} has format {version}, not {FORMAT}")
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def update(self, store: Store, sweep: str) -> None:
        """Take in nodes that were added to the sweep, and records that are new or have changed."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")  # fails at once where the file can only be read
            # Reading tens of thousands of nodes takes seconds; their list seldom changes.
            text = store.files.read_log(f"sweeps/{sweep}/{NODES}") or ""
            digest = hashlib.sha256(text.encode()).hexdigest()
            if self._db.execute("SELECT 1 FROM facts WHERE value = ?", (digest,)).fetchone() is None:
                self._take_nodes(recorded_nodes(store, sweep))
                self._db.execute("INSERT OR REPLACE INTO facts VALUES ('nodes', ?)", (digest,))
            self._take_records(store)

    def n_nodes(self) -> int:
        """How many nodes the sweep has."""
        return int(self._db.execute("SELECT count(*) FROM nodes").fetchone()[0])

    def targets(self, metrics: Sequence[str]) -> list[tuple[NodeRow, Configuration]]:
        """Every target that has ended, oldest first, its row narrow: labels and some metrics alone.

        Args:
            metrics: Names of metrics.
        """
        values = self._metrics("name", metrics)
        configurations = {
            identity: Configuration(json.loads(settings), identity)
            for identity, settings in self._db.execute("SELECT identity, settings FROM configurations")
        }
        rows = self._db.execute(
            "SELECT key, state, labels, started_ms, configuration FROM nodes "
            "WHERE stage = 'target' AND state != 'missing' ORDER BY started_ms, place"
        )
        pairs = []
        for key, state, labels, started_ms, identity in rows:
            row = NodeRow(
                key,
                "target",
                state,
                labels=json.loads(labels),
                metrics=values.get(key, {}),
                started_ms=started_ms,
            )
            pairs.append((row, configurations[identity]))
        return pairs

    def rows(self, keys: Sequence[str] | None = None) -> list[NodeRow]:
        """Whole rows of nodes that have ended, with their MLflow runs where known, oldest first.

        Args:
            keys: Which ones; None: all.
        """
        if keys is None:
            keys = [key for (key,) in self._db.execute("SELECT key FROM nodes WHERE state != 'missing'")]
        metrics = self._metrics("key", keys)
        runs = {
            key: (run_id, artifacts)
            for key, run_id, artifacts in self._select("runs", "key, run_id, artifacts", "key", keys)
        }
        columns = "key, stage, state, labels, params, inputs, started_ms, error, place"
        rows = sorted(self._select("nodes", columns, "key", keys), key=lambda row: (row[6], row[8]))
        return [
            NodeRow(
                key,
                stage,
                cast("State", state),
                json.loads(labels),
                json.loads(params),
                metrics.get(key, {}),
                inputs_of(inputs),
                *runs.get(key, ("", "")),
                started_ms,
                error,
            )
            for key, stage, state, labels, params, inputs, started_ms, error, _ in rows
            if state != "missing"
        ]

    def without_run(self, keys: Iterable[str]) -> list[str]:
        """Those of some nodes whose MLflow run is not known yet."""
        keys = list(keys)
        known = {key for (key,) in self._select("runs", "key", "key", keys)}
        return [key for key in keys if key not in known]

    def learn(self, runs: Iterable[Run]) -> None:
        """Keep which MLflow run belongs to a node."""
        values = [
            (run.data.tags[KEY_TAG], run.info.run_id, run.info.artifact_uri or "")
            for run in runs
            if KEY_TAG in run.data.tags
        ]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", values)

    def _take_nodes(self, entries: Sequence[NodeEntry]) -> None:
        known = dict(self._db.execute("SELECT key, entry FROM nodes"))
        digests = {entry.key: _digest(entry) for entry in entries}
        by_key = _LazyRows({entry.key: entry for entry in entries})
        for place, entry in enumerate(entries):
            if known.get(entry.key) == digests[entry.key]:
                continue
            row = by_key[entry.key]
            configuration = configuration_of(row, by_key)
            self._db.execute("DELETE FROM nodes WHERE key = ?", (entry.key,))
            self._db.execute(
                "INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'missing', NULL, 0, '')",
                (
                    entry.key,
                    place,
                    entry.stage,
                    digests[entry.key],
                    configuration.identity,
                    json.dumps(row.labels),
                    json.dumps(row.params),
                    json.dumps(row.inputs),
                ),
            )
            self._db.execute(
                "INSERT OR REPLACE INTO configurations VALUES (?, ?)",
                (configuration.identity, json.dumps(configuration.values)),
            )

    def _take_records(self, store: Store) -> None:
        nodes = self._db.execute("SELECT key, stage, state, mark FROM nodes").fetchall()
        with store.snapshot():
            marks = {
                key: mark for stage in {node[1] for node in nodes} for mark, key in store.published(stage)
            }
        stale = [
            (stage, key, state)
            for key, stage, state, mark in nodes
            if key not in marks or mark != marks[key] or state != "done"
        ]
        with store.snapshot((stage, key) for stage, key, _ in stale):
            for stage, key, state in stale:
                self._take_record(store, stage, key, state, marks.get(key))

    def _take_record(self, store: Store, stage: str, key: str, state: str, mark: float | None) -> None:
        record = store.record(stage, key)
        if record is None and state == "missing":
            return
        self._db.execute("DELETE FROM metrics WHERE key = ?", (key,))
        if state == "done":  # built again since: its run is another one
            self._db.execute("DELETE FROM runs WHERE key = ?", (key,))
        if record is None:
            self._db.execute("UPDATE nodes SET state = 'missing', mark = NULL WHERE key = ?", (key,))
            return
        row = row_of_record(NodeRow(key, stage, "missing"), record)
        self._db.execute(
            "UPDATE nodes SET state = ?, mark = ?, started_ms = ?, error = ? WHERE key = ?",
            (row.state, mark, row.started_ms, row.error, key),
        )
        values = [
            (name, key, None if math.isnan(value) else value) for name, value in row.metrics.items()
        ]  # SQLite has no NaN
        self._db.executemany("INSERT INTO metrics VALUES (?, ?, ?)", values)

    def _metrics(self, by: str, values: Sequence[str]) -> dict[str, dict[str, float]]:
        metrics: dict[str, dict[str, float]] = {}
        for key, name, value in self._select("metrics", "key, name, value", by, values):
            metrics.setdefault(key, {})[name] = math.nan if value is None else value
        return metrics

    def _select(self, table: str, columns: str, by: str, values: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            marks = ", ".join("?" * len(part))
            yield from self._db.execute(f"SELECT {columns} FROM {table} WHERE {by} IN ({marks})", part)


class _LazyRows(Mapping[str, NodeRow]):
    """Rows of a sweep's nodes without what they measured, each made when it is first read."""

    def __init__(self, entries: Mapping[str, NodeEntry]) -> None:
        self._entries = entries
        self._rows: dict[str, NodeRow] = {}

    def __getitem__(self, key: str) -> NodeRow:
        if key not in self._rows:
            self._rows[key] = as_logged(row_of_node(self._entries[key]))
        return self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _digest(entry: NodeEntry) -> str:
    values = [entry.stage, entry.config, entry.inputs, entry.labels]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
