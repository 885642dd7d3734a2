"""The runs that an answer about a large sweep needs, picked by the database: few columns, few runs.

MLflow's own search returns runs whole, which takes minutes for tens of thousands. Where the tracking URI is
a database, this ranks all targets by three narrow queries and then reads only the best configurations whole,
with what they came from. `answers` works on them as on all runs. Anything unusual (a server, runs by hand,
conditions on upstream settings) is answered by None: take the long way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from dwp_sweep.tracking.node_run import CONFIGURATION_TAG, STAGE_TAG
from dwp_sweep.tracking.rows import LABELS, NodeRow, row_of_run
from dwp_sweep.tracking.selection import lower_is_better, same_value

if TYPE_CHECKING:
    from mlflow.entities import Run
    from sqlalchemy.engine import Connection

N_RUNS_AT_LEAST = 2_000
"""Smaller sweeps are read whole: then all configurations are compared in the answer."""
N_CONFIGURATIONS = 50
"""How many of the best configurations are read whole."""
_DATABASES = ("sqlite:", "postgresql", "mysql")
_CHUNK = 500

_RUNS = (
    "SELECT run_uuid, status, start_time FROM runs WHERE experiment_id = :e AND lifecycle_stage = 'active'"
)
_TAGS = (
    "SELECT t.run_uuid, t.key, t.value FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid "
    "WHERE r.experiment_id = :e AND r.lifecycle_stage = 'active' AND t.key IN :keys"
)
_METRICS = (
    "SELECT m.run_uuid, m.key, m.value FROM latest_metrics m JOIN runs r ON r.run_uuid = m.run_uuid "
    "WHERE r.experiment_id = :e AND r.lifecycle_stage = 'active' AND m.is_nan = :no AND m.key IN :keys"
)
_WHOLE = {
    "info": "SELECT run_uuid, status, start_time, artifact_uri FROM runs WHERE run_uuid IN :ids",
    "tags": "SELECT run_uuid, key, value FROM tags WHERE run_uuid IN :ids",
    "params": "SELECT run_uuid, key, value FROM params WHERE run_uuid IN :ids",
    "metrics": "SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE run_uuid IN :ids",
}
_BY_KEY = (
    "SELECT t.value, t.run_uuid FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid "
    "WHERE r.experiment_id = :e AND r.lifecycle_stage = 'active' AND t.key = 'dwp.key' AND t.value IN :ids"
)


@dataclass(frozen=True)
class Shortlist:
    """What is left to compare.

    Attributes:
        rows: Target runs of the best configurations and all that they came from, oldest first.
        notes: What was left out.
    """

    rows: tuple[NodeRow, ...]
    notes: tuple[str, ...]


@dataclass
class _Target:
    run_id: str
    status: str
    started_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    value: float | None = None
    is_best: bool = False


def shortlist(
    uri: str,
    sweep: str,
    metric: str,
    where: Mapping[str, Any],
    n_runs_at_least: int = N_RUNS_AT_LEAST,
    n_configurations: int = N_CONFIGURATIONS,
) -> Shortlist | None:
    """The runs of the best configurations of a large sweep.

    Args:
        uri: MLflow's tracking URI, password included.
        sweep: Name of the sweep.
        metric: Validation metric that decides; ``best_<metric>`` goes before it.
        where: Labels that must hold.
        n_runs_at_least: Smaller sweeps are read whole.
        n_configurations: How many configurations to keep.

    Returns:
        None where the sweep has to be read whole.
    """
    if not uri.startswith(_DATABASES) or any(name not in LABELS for name in where):
        return None
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            return _picked(connection, sweep, metric, where, n_runs_at_least, n_configurations)
    finally:
        engine.dispose()


def _picked(
    connection: Connection, sweep: str, metric: str, where: Mapping[str, Any], n_least: int, n_kept: int
) -> Shortlist | None:
    found = _rows(connection, "SELECT experiment_id FROM experiments WHERE name = :n", n=sweep)
    if not found:
        return None
    experiment = found[0][0]
    runs = _rows(connection, _RUNS, e=experiment)
    if len(runs) < n_least:
        return None
    targets = _targets(connection, experiment, runs, metric, where)
    if targets is None:
        return None
    chosen = [
        one for one in targets if all(same_value(one.tags.get(f"dwp.{n}"), w) for n, w in where.items())
    ]
    done = [one for one in chosen if one.status == "FINISHED"]
    usable = [one for one in done if one.value is not None and math.isfinite(one.value)]
    if not usable:
        return None
    groups = _ranked(usable, metric)
    kept = groups[:n_kept]
    rows = _whole(connection, experiment, [one.run_id for group in kept for one in group])
    return Shortlist(tuple(rows), _notes(len(chosen), len(done), len(usable), len(groups), len(kept), metric))


def _targets(
    connection: Connection, experiment: Any, runs: Sequence[Any], metric: str, where: Mapping[str, Any]
) -> list[_Target] | None:
    by_id = {run_id: _Target(run_id, status, int(start or 0)) for run_id, status, start in runs}
    names = {STAGE_TAG, CONFIGURATION_TAG, "dwp.split", "dwp.seed", *(f"dwp.{name}" for name in where)}
    for run_id, name, value in _rows(connection, _TAGS, e=experiment, keys=sorted(names)):
        by_id[run_id].tags[name] = value
    targets = {one.run_id: one for one in by_id.values() if one.tags.get(STAGE_TAG) == "target"}
    if not targets or any(CONFIGURATION_TAG not in one.tags for one in targets.values()):
        return None  # of an earlier version: only the whole runs tell which belong together
    best = f"best_{metric}"
    for run_id, name, value in _rows(connection, _METRICS, e=experiment, no=False, keys=[best, metric]):
        target = targets.get(run_id)
        if target is not None and (name == best or not target.is_best):
            target.value, target.is_best = float(value), name == best
    return list(targets.values())


def _ranked(usable: Iterable[_Target], metric: str) -> list[list[_Target]]:
    groups: dict[str, dict[tuple[str | None, str | None], _Target]] = {}
    for one in sorted(usable, key=lambda one: one.started_ms):  # a newer run takes an older one's place
        unit = one.tags.get("dwp.split"), one.tags.get("dwp.seed")
        groups.setdefault(one.tags[CONFIGURATION_TAG], {})[unit] = one
    sign = 1.0 if lower_is_better(metric) else -1.0

    def rank(group: list[_Target]) -> tuple[int, float]:
        return -len(group), sign * math.fsum(one.value or 0.0 for one in group) / len(group)

    return sorted((list(units.values()) for units in groups.values()), key=rank)


def _notes(
    n_chosen: int, n_done: int, n_usable: int, n_groups: int, n_kept: int, metric: str
) -> tuple[str, ...]:
    pairs = (
        (n_chosen - n_done, "target run(s) are not finished or failed and are left out"),
        (n_done - n_usable, f"finished run(s) have no finite {metric} and are left out"),
        (n_groups - n_kept, f"further configuration(s) rank behind the {n_kept} that are listed"),
    )
    return tuple(f"{n} {text}" for n, text in pairs if n)


def _whole(connection: Connection, experiment: Any, run_ids: Sequence[str]) -> list[NodeRow]:
    """Rows of some runs and of everything upstream of them, oldest first."""
    rows: dict[str, NodeRow] = {}
    wanted = list(run_ids)
    while wanted:
        fresh = {row.run_id: row for row in _read(connection, wanted)}
        rows |= fresh
        known = {row.key for row in rows.values()}
        keys = {key for row in fresh.values() for pairs in row.inputs.values() for _, key in pairs} - known
        found = [
            pair
            for part in _chunks(sorted(keys))
            for pair in _rows(connection, _BY_KEY, e=experiment, ids=part)
        ]
        wanted = [run_id for _, run_id in found if run_id not in rows]
    return sorted(rows.values(), key=lambda row: row.started_ms)


def _read(connection: Connection, run_ids: Sequence[str]) -> Iterator[NodeRow]:
    for part in _chunks(run_ids):
        runs: dict[str, Any] = {}
        for run_id, status, start, artifacts in _rows(connection, _WHOLE["info"], ids=part):
            info = SimpleNamespace(run_id=run_id, status=status, start_time=start, artifact_uri=artifacts)
            runs[run_id] = SimpleNamespace(info=info, data=SimpleNamespace(tags={}, params={}, metrics={}))
        for kind in ("tags", "params"):
            for run_id, name, value in _rows(connection, _WHOLE[kind], ids=part):
                getattr(runs[run_id].data, kind)[name] = value
        for run_id, name, value, is_nan in _rows(connection, _WHOLE["metrics"], ids=part):
            runs[run_id].data.metrics[name] = math.nan if is_nan else float(value)
        yield from (row_of_run(cast("Run", run)) for run in runs.values())


def _rows(connection: Connection, text: str, **values: Any) -> Sequence[Any]:
    import sqlalchemy

    lists = [name for name, value in values.items() if isinstance(value, list | tuple)]
    statement = sqlalchemy.text(text).bindparams(*(sqlalchemy.bindparam(n, expanding=True) for n in lists))
    return connection.execute(statement, values).fetchall()


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), _CHUNK):
        yield list(values[start : start + _CHUNK])
