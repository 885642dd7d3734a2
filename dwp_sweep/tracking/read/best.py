"""The best configuration of a sweep.

Selection uses the mean of a *validation* metric over splits and seeds; test metrics stand beside it
and never decide.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.config.variants import VARIANT
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import setting_text
from dwp_sweep.tables import Stat, Table, TableCell, left, metric_columns, notebook_html, right, table_row
from dwp_sweep.tracking.client import mlflow_client, shown_uri
from dwp_sweep.tracking.mlflow_format import setting_texts, unflatten
from dwp_sweep.tracking.read.configuration import (
    Candidate,
    Pair,
    candidate_of,
    check_metric,
    groups_of,
    lower_is_better,
    pairs_of,
    ranked,
    select_rows,
    shown_metrics,
    varied_of,
)
from dwp_sweep.tracking.read.reader import Keep, Kept, SweepReader, open_sweep
from dwp_sweep.tracking.read.rows import NodeRow, row_of_run
from dwp_sweep.tracking.read.runs import parent_facts

N_LISTED = 50
"""Of a large sweep so many configurations are listed as candidates."""

_N_RANKED = 8
"""So many configurations are named in the table; JSON has all."""


_SUPPLIED = {
    "source.brought.path": "source.network",
    "harvest.brought.path": "harvest.bank",
    "prior.brought.group1.path": "prior.path",
}
"""Setting of a node whose output was supplied -> the key of a search space that supplies it."""


@dataclass(frozen=True)
class Upstream:
    """A node that the best configuration's networks came from: source networks, kernel bank, priors."""

    stage: str
    run_id: str
    artifacts: str


@dataclass(frozen=True)
class Best:
    """Answer of `best_config`.

    Attributes:
        sweep: Name of the sweep.
        metric: The validation metric that decided.
        config: Nested settings, under the keys of a search space; split and seed left out.
        metrics: Name -> mean, std, n over splits and seeds. Where a run has ``best_<name>``, ``<name>``
            stands for the network that was handed over, not for the last epoch.
        run_ids: Runs of the configuration, in order of split and seed.
        artifacts: Run id -> URI of its files.
        upstream: What those networks came from.
        candidates: All configurations that were compared, best first.
        varied: Dotted names of the settings that the sweep asks about, and of others with more than one value
            among the candidates.
        notes: What a reader should know: runs left out, splits missing.
        tracking_uri: Where this was read, passwords hidden.
    """

    sweep: str
    metric: str
    config: dict[str, Any]
    metrics: dict[str, Stat]
    run_ids: tuple[str, ...]
    artifacts: dict[str, str]
    upstream: tuple[Upstream, ...]
    candidates: tuple[Candidate, ...]
    varied: tuple[str, ...]
    notes: tuple[str, ...]
    tracking_uri: str

    def __repr__(self) -> str:
        """One line; `to_json` has everything."""
        score, n = self.metrics[self.metric].plus_minus(), len(self.run_ids)
        method = self.config.get("method")
        return f"Best(sweep={self.sweep!r}, method={method!r}, {self.metric}={score}, n_runs={n})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the winner and what stood against it."""
        return notebook_html(self.tables())

    def tables(self) -> tuple[Table, ...]:
        """The winner; what stood against it, where the winner's files lie, and the notes."""
        n, winner = len(self.candidates), self.candidates[0].values
        settings = [name for name in dict.fromkeys(("method", "train_size", *self.varied)) if name in winner]
        rows = [(name, TableCell(setting_text(winner[name]), "strong")) for name in settings]
        for name in shown_metrics(self.metric, [self.metrics]):
            if name in self.metrics:
                aside = " decided" if name == self.metric else " reported only"
                rows.append((name, TableCell(self.metrics[name].explained(), "strong", aside)))
        title = f"Best of {n} configuration{'s' if n != 1 else ''} in sweep {self.sweep}"
        subtitle = f", by mean {self.metric}"
        return Table(left("", ""), tuple(map(table_row, rows)), title, subtitle), self._ranking()

    def _ranking(self) -> Table:
        metrics = shown_metrics(self.metric, [self.metrics])
        ranked = self.candidates[:_N_RANKED] if len(self.candidates) > 1 else ()
        rows = [
            table_row([
                str(place),
                *setting_texts(candidate.values, self.varied),
                *(str(candidate.metrics.get(name, "-")) for name in metrics),
                str(len(candidate.run_ids)),
            ])
            for place, candidate in enumerate(ranked, start=1)
        ]  # fmt: skip
        if len(self.candidates) > _N_RANKED:
            rows.append(table_row(["", TableCell("", aside=f"and {len(self.candidates) - _N_RANKED} more")]))
        lines = [TableCell(f"run {run_id}", aside=f"  {self.artifacts[run_id]}") for run_id in self.run_ids]
        stages = Counter(node.stage for node in self.upstream)
        if stages:
            counts = ", ".join(f"{n} {stage}" for stage, n in stages.items())
            lines.append(TableCell(f"upstream: {counts} (--json names their runs)"))
        columns = (*right("#"), *left(*self.varied), *metric_columns(metrics), *right("runs"))
        return Table(columns, tuple(rows), lines=tuple(lines), notes=self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return values

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)


def best_config(
    sweep: str,
    metric: str = "val_dice",
    where: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
    storage: str | Path | None = None,
) -> Best:
    """The configuration with the best mean of a validation metric over splits and seeds.

    Configurations with all splits go before those that lack some, whose number is noted. A sweep of thousands
    of nodes is compared by the index of its storage, in seconds, and its first configurations are listed; a
    client that has MLflow alone reads every run, which takes minutes for 30,000.

    Args:
        sweep: Name of the sweep.
        metric: A validation metric; lower is better for losses.
        where: Settings that must hold, e.g. ``{"method": "fine_tune", "train_size": 5}``; dotted names too.
        tracking_uri: None takes ``MLFLOW_TRACKING_URI``, else the database under ``./dwp_runs``.
        storage: Where the sweep's records are; None: beside MLflow's database, if that is a file. Used where
            all of the sweep's runs in MLflow came from it.

    Raises:
        InputError: Unknown sweep, setting or value; a metric that is none of validation; nothing finished.
    """
    check_metric(metric, ())

    def keep(pairs: list[Pair]) -> Kept:
        usable, notes = usable_pairs(pairs, metric, sweep)
        order = ranked(groups_of(usable), metric)
        return Kept(order[:N_LISTED], len(order), notes)

    with open_sweep(sweep, tracking_uri, storage) as reader:
        rows, notes = rows_to_rank(reader, metric, where or {}, keep)
        chosen = select_rows(pairs_of(rows), where or {}, sweep)
        asked = parent_facts(reader.client, sweep).asked
        return best_of(sweep, metric, chosen, rows, notes, shown_uri(reader.uri), asked)


def rows_to_rank(
    reader: SweepReader, metric: str, where: Mapping[str, Any], keep: Keep
) -> tuple[Sequence[NodeRow], tuple[str, ...]]:
    """The rows to compare, and notes on what was left out of them.

    Raises:
        InputError: No such sweep.
    """
    short = reader.shortlist((metric,), where, keep)
    if short is None:
        return reader.rows(), ()
    behind, n_listed = short.kept.n_behind, len(short.kept.groups)
    text = f"{behind} further configuration(s) rank behind the {n_listed} that are listed"
    return short.rows, (*short.kept.notes, text) if behind else short.kept.notes


def best_of(
    sweep: str,
    metric: str,
    chosen: Sequence[Pair],
    rows: Sequence[NodeRow],
    notes: tuple[str, ...],
    uri: str,
    asked: Sequence[str] = (),
) -> Best:
    """The best configuration among some target runs.

    Args:
        sweep: Name of the sweep.
        metric: A validation metric.
        chosen: Target runs to compare.
        rows: All runs that were read: among them those upstream.
        notes: What is known already of runs left out.
        uri: Where all this was read.
        asked: Dotted keys that the sweep asks about.

    Raises:
        InputError: None of them is finished, or none has the metric.
    """
    usable, more = usable_pairs(chosen, metric, sweep)
    order = ranked(groups_of(usable), metric)
    notes = (*notes, *more, *_notes_on_splits(order, metric))
    candidates = tuple(candidate_of(group) for group in order)
    best, best_rows = candidates[0], [row for row, _ in order[0]]
    return Best(
        sweep=sweep,
        metric=metric,
        config=unflatten(_search_space_keys(best.values)),
        metrics=best.metrics,
        run_ids=best.run_ids,
        artifacts={row.run_id: row.artifacts for row in best_rows},
        upstream=_upstream(best_rows, rows),
        candidates=candidates,
        varied=varied_of([candidate.values for candidate in candidates], asked),
        notes=notes,
        tracking_uri=uri,
    )


def usable_pairs(pairs: Sequence[Pair], metric: str, sweep: str) -> tuple[list[Pair], tuple[str, ...]]:
    """The finished target runs that have a finite metric, and notes on the others.

    Raises:
        InputError: There is none.
    """
    done = [(row, configuration) for row, configuration in pairs if row.state == "done"]
    if not done:
        states = ", ".join(sorted({row.state for row, _ in pairs})) or "none"
        raise InputError(
            Problem(sweep, f"no finished target run to choose from (states: {states})", "run it first")
        )
    check_metric(metric, sorted({name for row, _ in done for name in row.metrics}))
    usable = [pair for pair in done if (value := pair[0].metric(metric)) is not None and math.isfinite(value)]
    notes = []
    n_pruned = sum(row.state == "pruned" for row, _ in pairs)
    n_open = len(pairs) - len(done) - n_pruned
    if n_open:
        notes.append(f"{n_open} target run(s) are not finished or failed and are left out")
    if n_pruned:
        notes.append(f"{n_pruned} target run(s) were pruned by the search and are left out")
    if len(usable) < len(done):
        notes.append(f"{len(done) - len(usable)} finished run(s) have no finite {metric} and are left out")
    if not usable:
        raise InputError(Problem(sweep, f"no finished target run has a finite {metric}"))
    return usable, tuple(notes)


def _notes_on_splits(order: list[list[Pair]], metric: str) -> tuple[str, ...]:
    full = len(order[0])
    short = [group for group in order if len(group) < full]
    if not short:
        return ()
    counts = ", ".join(str(len(group)) for group in short[:5]) + (", ..." if len(short) > 5 else "")
    return (
        f"{len(short)} configuration(s) have fewer splits or seeds than the {full} of the best ({counts}) "
        f"and rank behind, whatever their {metric}",
    )


def _search_space_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration under the keys of a search space, those of finished networks, banks and priors too."""
    # What identifies supplied files, or a sibling's differing setting, is no key of a search space.
    keys = {
        name: value
        for name, value in values.items()
        if name != VARIANT and ":" not in name and ".brought." not in name
    }
    for name, key in _SUPPLIED.items():
        if name in values:
            path = str(values[name])
            keys[key] = str(Path(path).parent) if key == "prior.path" else path  # of group1 ... group7
    return keys


def _upstream(targets: Sequence[NodeRow], rows: Sequence[NodeRow]) -> tuple[Upstream, ...]:
    by_key = {row.key: row for row in rows if row.key}
    upstream: dict[str, NodeRow] = {}
    waiting = list(targets)
    while waiting:
        keys = [key for pairs in waiting.pop(0).inputs.values() for _, key in pairs]
        fresh = [by_key[key] for key in keys if key in by_key and key not in upstream]
        upstream |= {row.key: row for row in fresh}
        waiting += fresh
    return tuple(Upstream(row.stage, row.run_id, row.artifacts) for row in upstream.values())


def best_run(best: Best, uri: str) -> NodeRow:
    """Of the best configuration's runs the one with the best validation score; the first of equal ones.

    Args:
        best: From `best_config`.
        uri: MLflow's tracking URI, password included.
    """
    return _by_validation(best, uri)[0]


def middle_run(best: Best, uri: str) -> NodeRow:
    """Of the best configuration's runs the middle one by validation; of two middle ones the better.

    Args:
        best: From `best_config`.
        uri: MLflow's tracking URI, password included.
    """
    rows = _by_validation(best, uri)
    return rows[(len(rows) - 1) // 2]


def _by_validation(best: Best, uri: str) -> list[NodeRow]:
    """The runs of the best configuration, best first; equal ones in order of split and seed."""
    client = mlflow_client(uri)
    rows = [row_of_run(client.get_run(run_id)) for run_id in best.run_ids]
    sign = 1.0 if lower_is_better(best.metric) else -1.0
    return sorted(rows, key=lambda row: sign * (row.metric(best.metric) or 0.0))
