"""Target runs grouped into configurations, what each measured, and which of them is best.

A configuration is all settings behind a result but split, seed and place. A target's own run names only what
the target stage reads; latent dimension or weight decay stand with the priors and source networks that it
came from, so the settings are gathered along the lineage. `rank` is the only rule of the best configuration:
answers, reports and the index of results sort by it.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dwp_sweep.config.variants import VARIANT
from dwp_sweep.tables import TableColumn, right
from dwp_sweep.tracking.mlflow_format import encode
from dwp_sweep.tracking.read.rows import NodeRow

REPEATS = ("split", "seed")
"""What repeats a configuration instead of changing it."""
_OF_ONE_NODE = {"seed", "split", "group", "method", "train_size"}
_PLACES = {
    "root", "split_file", "device", "cache_dir", "checkpointing", "checkpoint_every", "path", "network",
    "bank", "priors",
}  # fmt: skip
"""Last parts of names that never change a result: the components' unkeyed fields (a test compares)."""
_LOW = ("loss", "nll")
_REPORTED = ("test_dice", "test_iou")
"""Test metrics that stand beside what decided, and never decide."""


@dataclass(frozen=True)
class Configuration:
    """All settings behind a result.

    Attributes:
        values: By dotted name, as in a search space; ``variant`` too, which decides nothing.
        identity: Equal for equal settings; 12 hex digits.
    """

    values: Mapping[str, Any]
    identity: str


Pair = tuple[NodeRow, Configuration]
"""A target run and the configuration that it belongs to."""


@dataclass(frozen=True)
class Stat:
    """Summary of one metric.

    Attributes:
        mean: Arithmetic mean.
        std: Sample standard deviation (ddof 1); None for a single value.
        n: Number of values.
    """

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        """``0.712 (0.021)``: a cell of a table of scores."""
        return self._text(".3f", " ({:.3f})")

    def short(self) -> str:
        """``0.7382 (0.011)``: significant digits, for values of any size."""
        return self._text(".4g", " ({:.2g})")

    def plus_minus(self) -> str:
        """``0.712 ± 0.021``: a score within a line of text."""
        return self._text(".3f", " ± {:.3f}")

    def explained(self) -> str:
        """``0.7382 (std 0.0110, n = 2)``: with the words that a reader needs."""
        if self.std is None:
            return f"{self.mean:.4f} (one run: no spread known)"
        return self._text(".4f", " (std {:.4f}, ") + f"n = {self.n})"

    def _text(self, mean: str, spread: str) -> str:
        return format(self.mean, mean) + (spread.format(self.std) if self.std is not None else "")


@dataclass(frozen=True)
class Candidate:
    """One configuration of the sweep.

    Attributes:
        values: Its settings by dotted name.
        metrics: Name -> mean, std, n over splits and seeds.
        run_ids: One a split and seed.
    """

    values: dict[str, Any]
    metrics: dict[str, Stat]
    run_ids: tuple[str, ...]


def configurations(rows: Iterable[NodeRow]) -> dict[int, Configuration]:
    """The configuration of each row, by its index."""
    rows = list(rows)
    by_key = {row.key: row for row in rows if row.key}
    return {index: configuration_of(row, by_key) for index, row in enumerate(rows)}


def configuration_of(row: NodeRow, by_key: Mapping[str, NodeRow]) -> Configuration:
    """The configuration of one row.

    Args:
        row: The row.
        by_key: Rows by key: those that it came from are among them.
    """
    own = {
        name: row.labels[name] for name in ("method", VARIANT, "train_size", "group") if name in row.labels
    }
    own |= {
        name: value for name, value in row.params.items() if name not in REPEATS and name != "source.n_seeds"
    }
    values = dict(own)
    for ancestor in _ancestors(row, by_key):
        for name, value in _settings(ancestor):
            if values.setdefault(name, value) != value and changes_results(name):
                values.setdefault(f"{ancestor.stage}:{name}", value)
    keyed = {name: value for name, value in values.items() if changes_results(name) and name != VARIANT}
    text = json.dumps([row.stage, keyed], sort_keys=True, default=str)
    return Configuration(values, hashlib.sha256(text.encode()).hexdigest()[:12])


def changes_results(name: str) -> bool:
    """Whether a setting takes part in a node's key."""
    return name.rpartition(".")[2] not in _PLACES


def pairs_of(rows: Sequence[NodeRow]) -> list[Pair]:
    """The target runs among all runs of a sweep, in their order."""
    known = configurations(rows)
    return [(row, known[index]) for index, row in enumerate(rows) if row.stage == "target"]


def groups_of(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Runs by configuration, in order of split and seed; of equal ones the newest counts."""
    groups: dict[str, dict[tuple[Any, Any], Pair]] = {}
    for row, configuration in pairs:  # oldest first: a newer run of the same split and seed takes the place
        repeat = (row.labels.get("split"), row.labels.get("seed"))
        # Without either label nothing says that two runs repeat each other: both count.
        unit = repeat if repeat != (None, None) else (None, row.run_id)
        groups.setdefault(configuration.identity, {})[unit] = (row, configuration)
    return [[units[unit] for unit in sorted(units, key=_order)] for units in groups.values()]


def stat(values: Sequence[float]) -> Stat | None:
    """Summary of the finite values; None where there is none."""
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        return None
    return Stat(statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else None, len(finite))


def rank(values: Sequence[float], metric: str) -> tuple[int, float]:
    """Sort key of a configuration, the best one smallest: most runs first, then the mean.

    Configurations that are equally good need a second key, such as their identity, so that every answer
    names the same one.

    Args:
        values: A validation metric of its runs; those that are not finite count as not there.
        metric: Its name, which says which way is better.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0, math.inf
    sign = 1.0 if lower_is_better(metric) else -1.0
    return -len(finite), sign * math.fsum(finite) / len(finite)


def lower_is_better(metric: str) -> bool:
    """Whether a metric is minimised."""
    return metric.endswith(_LOW)


def ranked(groups: Sequence[list[Pair]], metric: str) -> list[list[Pair]]:
    """Configurations, the best by `rank` first; of equal ones in order of their identity."""

    def place(group: list[Pair]) -> tuple[int, float, str]:
        values = [value for row, _ in group if (value := row.metric(metric)) is not None]
        return *rank(values, metric), group[0][1].identity

    return sorted(groups, key=place)


def candidate_of(group: Sequence[Pair]) -> Candidate:
    """A configuration's settings and the mean and spread of all that its runs measured."""
    names = sorted({name for row, _ in group for name in row.metrics})
    names += [short for name in names if (short := name.removeprefix("best_")) != name and short not in names]
    summaries = {name: stat([v for row, _ in group if (v := row.metric(name)) is not None]) for name in names}
    return Candidate(
        values=dict(group[-1][1].values),
        metrics={name: summary for name, summary in summaries.items() if summary is not None},
        run_ids=tuple(row.run_id for row, _ in group),
    )


def varied_of(settings: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Names of the settings with more than one value among some configurations; method and size first."""
    names = sorted({name for values in settings for name in values if changes_results(name)})
    # A setting that some methods do not have at all follows from the method; it tells nothing by itself.
    texts = {name: {encode(values[name]) for values in settings if name in values} for name in names}
    first = [name for name in ("method", "train_size") if name in texts]
    return tuple(name for name in [*first, *(n for n in names if n not in first)] if len(texts[name]) > 1)


def shown_metrics(decided: str, measured: Iterable[Mapping[str, Stat]]) -> list[str]:
    """The metric that decided, then the test metrics that any configuration has."""
    known = {name for metrics in measured for name in metrics}
    return [decided, *(name for name in _REPORTED if name in known)]


def metric_columns(names: Iterable[str]) -> tuple[TableColumn, ...]:
    """Columns of means with their spread."""
    return right(*(f"{name} mean (std)" for name in names))


def short_means(metrics: Mapping[str, Stat], names: Iterable[str]) -> list[str]:
    """``0.7382 (0.011)`` for each metric; a dash where there is none."""
    return [metrics[name].short() if name in metrics else "-" for name in names]


def _settings(row: NodeRow) -> Iterator[tuple[str, Any]]:
    for name, value in row.params.items():
        if name in _OF_ONE_NODE or name == "source.n_seeds":
            continue
        yield (name if "." in name else f"{row.stage}.{name}"), value
    # A source network that several sweeps share cannot know how many of its kind went into this bank.
    if "sources" in row.inputs:
        yield "source.n_seeds", len(row.inputs["sources"])


def _ancestors(row: NodeRow, by_key: Mapping[str, NodeRow]) -> Iterator[NodeRow]:
    seen: set[str] = set()
    waiting = [row]
    while waiting:
        for pairs in waiting.pop(0).inputs.values():
            for _, key in pairs:
                if key not in seen and key in by_key:
                    seen.add(key)
                    waiting.append(by_key[key])
                    yield by_key[key]


def _order(unit: tuple[Any, Any]) -> tuple[tuple[bool, float, str], ...]:
    return tuple((part is None, part if isinstance(part, int | float) else 0.0, str(part)) for part in unit)
