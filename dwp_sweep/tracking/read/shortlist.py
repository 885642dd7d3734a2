"""The runs that an answer about a large sweep needs, picked by the database: few columns, few runs.

MLflow's own search returns runs whole, which takes minutes for tens of thousands. Where the tracking URI is
a database, this ranks all targets by three narrow queries and then reads only the best configurations whole,
with what they came from. `answers` works on them as on all runs. Anything unusual (a server, runs by hand,
conditions on upstream settings) is answered by None: take the long way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from dwp_sweep.tracking.read.candidates import rank
from dwp_sweep.tracking.read.rows import NodeRow, row_of_run
from dwp_sweep.tracking.read.selection import same_value
from dwp_sweep.tracking.tags import CONFIGURATION_TAG, LABELS, STAGE_TAG

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
        n_configurations: That were compared.
        n_kept: That were read whole.
    """

    rows: tuple[NodeRow, ...]
    notes: tuple[str, ...]
    n_configurations: int = 0
    n_kept: int = 0


@dataclass
class _Target:
    run_id: str
    status: str
    started_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    def metric(self, name: str) -> float:
        """As `NodeRow.metric`; not a number where the run has none."""
        return self.values.get(f"best_{name}", self.values.get(name, math.nan))


Group = Sequence[_Target]
"""The runs of one configuration, one a split and seed."""
Choose = Callable[[list[Group]], list[Group]]
"""Which configurations to read whole, of all that there are."""


def shortlist(
    uri: str,
    sweep: str,
    metric: str,
    where: Mapping[str, Any],
    n_runs_at_least: int = N_RUNS_AT_LEAST,
    n_configurations: int = N_CONFIGURATIONS,
    by: Sequence[str] = (),
) -> Shortlist | None:
    """The runs of the best configurations of a large sweep.

    Args:
        uri: MLflow's tracking URI, password included.
        sweep: Name of the sweep.
        metric: Validation metric that decides; ``best_<metric>`` goes before it.
        where: Labels that must hold.
        n_runs_at_least: Smaller sweeps are read whole.
        n_configurations: How many configurations to keep, for each value of ``by``.
        by: Labels: the best configurations of each of their values are kept.

    Returns:
        None where the sweep has to be read whole.
    """

    def choose(groups: list[Group]) -> list[Group]:
        parts: dict[tuple[str | None, ...], list[Group]] = {}
        for group in _ranked(groups, metric):
            value = tuple(group[0].tags.get(f"dwp.{name}") for name in by)
            parts.setdefault(value, []).append(group)
        return [group for part in parts.values() for group in part[:n_configurations]]

    found = narrowed(uri, sweep, (metric,), where, choose, n_runs_at_least, by)
    if found is None:
        return None
    n_behind = found.n_configurations - found.n_kept
    text = f"{n_behind} further configuration(s) rank behind the {found.n_kept} that are listed"
    return Shortlist(
        found.rows, (*found.notes, text) if n_behind else found.notes, found.n_configurations, found.n_kept
    )


def narrowed(
    uri: str,
    sweep: str,
    metrics: Sequence[str],
    where: Mapping[str, Any],
    choose: Choose,
    n_runs_at_least: int = N_RUNS_AT_LEAST,
    by: Sequence[str] = (),
) -> Shortlist | None:
    """The runs of some configurations of a large sweep, chosen by a few metrics.

    Args:
        uri: As for `shortlist`.
        sweep: As for `shortlist`.
        metrics: What every run must have, finite.
        where: As for `shortlist`.
        choose: Picks configurations.
        n_runs_at_least: As for `shortlist`.
        by: Labels that ``choose`` looks at; runs that differ in them are never one configuration.
    """
    if not uri.startswith(_DATABASES) or any(name not in LABELS for name in (*where, *by)):
        return None
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            return _picked(connection, sweep, metrics, where, choose, n_runs_at_least, by)
    finally:
        engine.dispose()


def _picked(
    connection: Connection,
    sweep: str,
    metrics: Sequence[str],
    where: Mapping[str, Any],
    choose: Choose,
    n_least: int,
    by: Sequence[str],
) -> Shortlist | None:
    found = _rows(connection, "SELECT experiment_id FROM experiments WHERE name = :n", n=sweep)
    if not found:
        return None
    experiment = found[0][0]
    runs = _rows(connection, _RUNS, e=experiment)
    if len(runs) < n_least:
        return None
    targets = _targets(connection, experiment, runs, metrics, (*where, *by))
    if targets is None:
        return None
    chosen = [
        one for one in targets if all(same_value(one.tags.get(f"dwp.{n}"), w) for n, w in where.items())
    ]
    done = [one for one in chosen if one.status == "FINISHED"]
    usable = [one for one in done if all(math.isfinite(one.metric(name)) for name in metrics)]
    if not usable:
        return None
    groups = _grouped(usable, by)
    kept = choose(groups)
    rows = _whole(connection, experiment, [one.run_id for group in kept for one in group])
    notes = _notes(len(chosen), len(done), len(usable), metrics)
    return Shortlist(tuple(rows), notes, len(groups), len(kept))


def _targets(
    connection: Connection,
    experiment: Any,
    runs: Sequence[Any],
    metrics: Sequence[str],
    labels: Sequence[str],
) -> list[_Target] | None:
    by_id = {run_id: _Target(run_id, status, int(start or 0)) for run_id, status, start in runs}
    names = {STAGE_TAG, CONFIGURATION_TAG, "dwp.split", "dwp.seed", *(f"dwp.{name}" for name in labels)}
    for run_id, name, value in _rows(connection, _TAGS, e=experiment, keys=sorted(names)):
        by_id[run_id].tags[name] = value
    targets = {one.run_id: one for one in by_id.values() if one.tags.get(STAGE_TAG) == "target"}
    if not targets or any(CONFIGURATION_TAG not in one.tags for one in targets.values()):
        return None  # of an earlier version: only the whole runs tell which belong together
    wanted = [form for name in metrics for form in (f"best_{name}", name)]
    for run_id, name, value in _rows(connection, _METRICS, e=experiment, no=False, keys=wanted):
        if run_id in targets:
            targets[run_id].values[name] = float(value)
    return list(targets.values())


def _grouped(usable: Iterable[_Target], by: Sequence[str]) -> list[Group]:
    groups: dict[tuple[str | None, ...], dict[tuple[str | None, str | None], _Target]] = {}
    for one in sorted(usable, key=lambda one: one.started_ms):  # a newer run takes an older one's place
        unit = one.tags.get("dwp.split"), one.tags.get("dwp.seed")
        place = (one.tags[CONFIGURATION_TAG], *(one.tags.get(f"dwp.{name}") for name in by))
        groups.setdefault(place, {})[unit] = one
    return [list(units.values()) for units in groups.values()]


def _ranked(groups: Iterable[Group], metric: str) -> list[Group]:
    return sorted(groups, key=lambda group: rank([one.metric(metric) for one in group], metric))


def _notes(n_chosen: int, n_done: int, n_usable: int, metrics: Sequence[str]) -> tuple[str, ...]:
    pairs = (
        (n_chosen - n_done, "target run(s) are not finished or failed and are left out"),
        (n_done - n_usable, f"finished run(s) have no finite {' and '.join(metrics)} and are left out"),
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
