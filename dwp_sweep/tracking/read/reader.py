"""The rows of a sweep for every answer: from MLflow, of a large sweep on a storage from its index.

MLflow returns runs whole, which takes about 5 s for a thousand. So a sweep of thousands of nodes is read from
the index of its storage (`index`), if the runs in MLflow are those of this storage; MLflow is then asked for
what has no record (runs under way, or logged by hand) and for the runs of the nodes that an answer names.
`results` gives all rows as a pandas table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.errors import DwpSweepError, InputError
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.sweep_record import NODES
from dwp_sweep.strict import LARGEST
from dwp_sweep.tracking.client import runs_come_from, sqlite_path
from dwp_sweep.tracking.mlflow_format import KEY_TAG, LABELS, PARENT_TAG, RECORD_TAG, decode
from dwp_sweep.tracking.read.configuration import Pair, configurations, pairs_of, select_rows
from dwp_sweep.tracking.read.index import ResultIndex, open_index
from dwp_sweep.tracking.read.rows import NodeRow, row_of_run, rows_of_store
from dwp_sweep.tracking.read.runs import find_runs, open_reader, parent_run, search_all, sweep_runs

if TYPE_CHECKING:
    import pandas
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from dwp_sweep.config.node import Node
    from dwp_sweep.store.protocol import Store

COLUMNS = (
    "stage", "state", *LABELS, "configuration", "key", "run_id", "started", "artifacts", "error", "inputs"
)  # fmt: skip
"""Of the table of `results`, before metrics and settings."""
N_NODES_AT_LEAST = 2_000
"""Smaller sweeps are read whole from MLflow: then all configurations are compared in the answer."""
_ONE_BY_ONE = 0.1
"""Up to this share of all nodes, asking MLflow for one run after another is faster than reading all."""


@dataclass(frozen=True)
class Kept:
    """The configurations that an answer goes on with, of all that were compared.

    Attributes:
        groups: The runs of each configuration.
        n_compared: How many configurations there were.
        notes: What was left out.
    """

    groups: Sequence[Sequence[Pair]]
    n_compared: int
    notes: tuple[str, ...] = ()

    @property
    def n_behind(self) -> int:
        """Configurations that were compared and are not kept."""
        return self.n_compared - len(self.groups)


Keep = Callable[[list[Pair]], Kept]
"""Compares configurations by target runs whose rows are narrow: labels and a few metrics."""


@dataclass(frozen=True)
class Shortlist:
    """The rows that an answer needs of a large sweep.

    Attributes:
        rows: Target runs of the kept configurations and all that they came from, oldest first.
        kept: How they were chosen.
    """

    rows: tuple[NodeRow, ...]
    kept: Kept


@dataclass(frozen=True)
class SweepReader:
    """A sweep in MLflow, with the index of its storage where it is large and has one.

    Attributes:
        client: Of MLflow.
        uri: MLflow's tracking URI, password included.
        sweep: Name of the sweep.
        experiment_id: Of the sweep; empty without an index.
        index: None: everything is read from MLflow.
        others: Rows of what MLflow has and the index has not: runs under way, or logged by hand.
    """

    client: MlflowClient
    uri: str
    sweep: str
    experiment_id: str = ""
    index: ResultIndex | None = None
    others: tuple[NodeRow, ...] = ()

    def rows(self) -> list[NodeRow]:
        """All nodes of the sweep that MLflow knows, oldest first.

        Raises:
            InputError: No such sweep; lists those that exist.
        """
        if self.index is None:
            return [row_of_run(run) for run in sweep_runs(self.client, self.uri, self.sweep)]
        rows = [*_logged(self._with_runs(self.index, None)), *self.others]
        return sorted(rows, key=lambda row: row.started_ms)

    def shortlist(self, metrics: Sequence[str], where: Mapping[str, Any], keep: Keep) -> Shortlist | None:
        """The rows of some configurations of a large sweep, chosen by a few metrics.

        Args:
            metrics: What ``keep`` compares by; ``best_<metric>`` goes before each.
            where: Settings that must hold.
            keep: Chooses; where it raises `InputError`, all rows are read, which have all metrics.

        Returns:
            None where all rows have to be read: there is no index, or it cannot answer.
        """
        if self.index is None:
            return None
        if any(row.stage == "target" and row.state == "done" for row in self.others):
            return None  # finished without a record: its configuration may need whole rows
        pairs = self.index.targets([form for name in metrics for form in (f"best_{name}", name)])
        pairs += pairs_of(self.others)
        try:
            kept = keep(select_rows(pairs, where, self.sweep))
        except InputError:
            return None
        rows = self._with_runs(self.index, [row.key for group in kept.groups for row, _ in group])
        return Shortlist(tuple(rows), kept) if len(_logged(rows)) == len(rows) else None

    def _with_runs(self, index: ResultIndex, keys: Sequence[str] | None) -> list[NodeRow]:
        """Rows of some nodes and of everything upstream of them, their MLflow runs looked up."""
        rows = index.rows(keys)
        known = {row.key for row in rows}
        fresh = rows
        while fresh:
            upstream = {key for row in fresh for pairs in row.inputs.values() for _, key in pairs} - known
            fresh = index.rows(sorted(upstream))
            known |= {row.key for row in fresh}
        missing = index.without_run(known)
        if len(missing) > _ONE_BY_ONE * index.n_nodes():
            index.learn(search_all(self.client, self.experiment_id))
        else:
            index.learn(run for key in missing for run in find_runs(self.client, self.experiment_id, key)[:1])
        return index.rows(sorted(known))


@contextlib.contextmanager
def open_sweep(
    sweep: str, tracking_uri: str | None, storage: str | Path | None = None
) -> Iterator[SweepReader]:
    """A sweep to be read.

    Args:
        sweep: Its name; need not exist.
        tracking_uri: None takes ``MLFLOW_TRACKING_URI``, else the database under ``./dwp_runs``.
        storage: Where its records are; None: the folder of MLflow's database, where it has one.

    Raises:
        InputError: The database is not there, or the server does not answer.
    """
    client, uri = open_reader(tracking_uri)
    parent = parent_run(client, sweep)
    store = None if parent is None else _store_of(sweep, parent, uri, storage)
    if parent is None or store is None:
        yield SweepReader(client, uri, sweep)
        return
    experiment_id = str(parent.info.experiment_id)
    with open_index(store, sweep) as index:
        try:
            others = _without_record(client, experiment_id, index)
        except Exception:  # MLflow's own kinds: an older server does not take the question
            yield SweepReader(client, uri, sweep)
        else:
            yield SweepReader(client, uri, sweep, experiment_id, index, tuple(others))


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
        ``train_size``, ``split``, ``seed``, ``group``, ``trial`` (its number in its search), ``settings``
        (what the sweep asks about, as text), ``configuration`` (equal for rows that differ in split and seed
        alone), ``key``, ``run_id``, ``started``, ``artifacts``, ``error``, ``inputs``
        (role -> keys of the nodes that it came from), then every metric under its name and every setting
        as ``params.<dotted name>``.

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
    for name in ("train_size", "split", "seed", "fold", "group", "trial"):
        table[name] = pandas.array([_whole(value) for value in table[name]], "Int64")
    table["started"] = pandas.to_datetime(table["started"], unit="ms", utc=True)
    return table


def _logged(rows: Sequence[NodeRow]) -> list[NodeRow]:
    return [row for row in rows if row.run_id]


def _store_of(sweep: str, parent: Run, uri: str, storage: str | Path | None) -> Store | None:
    """The storage of a large sweep, if MLflow's runs of it come from there alone."""
    database = sqlite_path(uri)
    place = storage or (database.parent if database is not None else None)
    if place is None:
        return None
    try:
        store = open_store(place)
        if not runs_come_from(parent.data.tags, uri, store.place):
            return None
        text = store.files.read_log(f"sweeps/{sweep}/{NODES}") or ""
    except DwpSweepError:  # the storage does not answer: MLflow knows as much
        return None
    return store if text.count("\n") >= N_NODES_AT_LEAST else None


def _without_record(client: MlflowClient, experiment_id: str, index: ResultIndex) -> list[NodeRow]:
    """Rows of runs that mirror no record: under way, or logged by hand."""
    runs = search_all(client, experiment_id, f"tags.`{RECORD_TAG}` IS NULL")
    runs = [run for run in runs if run.data.tags.get(PARENT_TAG) != "true"]
    keys = [run.data.tags.get(KEY_TAG, "") for run in runs]
    ended = {row.key for row in index.rows(keys)}
    index.learn(run for run, key in zip(runs, keys, strict=True) if key in ended)
    return [row_of_run(run) for run, key in zip(runs, keys, strict=True) if key not in ended]


def _whole(value: Any) -> int | None:
    """A label that is a number; None for what no run of this package has."""
    value = decode(value) if isinstance(value, str) else value
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return value if isinstance(value, int) and abs(value) <= LARGEST else None


def _values(row: NodeRow, configuration: str) -> dict[str, Any]:
    values: dict[str, Any] = {f"params.{name}": value for name, value in row.params.items()}
    values |= row.metrics
    values |= {name: row.labels.get(name) for name in LABELS}
    values |= {
        "stage": row.stage,
        "state": row.state,
        "configuration": configuration,
        "key": row.key,
        "run_id": row.run_id,
        "started": row.started_ms or None,
        "artifacts": row.artifacts,
        "error": row.error,
        "inputs": {role: tuple(key for _, key in nodes) for role, nodes in row.inputs.items()},
    }
    return {name: _text(value) if isinstance(value, str) else value for name, value in values.items()}


def _text(value: str) -> str:
    """Without bytes that are no text, which a column cannot hold: a file's name in an error may have them."""
    return value.encode("utf-8", "backslashreplace").decode()
