"""Target runs grouped into configurations, what each measured, and which of them is best.

Between the rows of a sweep and the answers about it. The rule of the best configuration stands here alone
(`rank`); answers, reports and the index of results all sort by it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dwp_sweep.tracking.params import encode
from dwp_sweep.tracking.read.configuration import Configuration, changes_results, configurations
from dwp_sweep.tracking.read.rows import NodeRow
from dwp_sweep.tracking.read.selection import lower_is_better

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


def pairs_of(rows: Sequence[NodeRow]) -> list[Pair]:
    """The target runs among all runs of a sweep, in their order."""
    found = configurations(rows)
    return [(row, found[index]) for index, row in enumerate(rows) if row.stage == "target"]


def groups_of(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Runs by configuration, in order of split and seed; of equal ones the newest counts."""
    groups: dict[str, dict[tuple[Any, Any], Pair]] = {}
    for row, configuration in pairs:  # oldest first: a newer run of the same split and seed takes the place
        repeat = (row.labels.get("split"), row.labels.get("seed"))
        # Without either label nothing says that two runs repeat each other: both count.
        unit = repeat if repeat != (None, None) else (None, row.run_id)
        groups.setdefault(configuration.identity, {})[unit] = (row, configuration)
    return [[units[unit] for unit in sorted(units, key=_order)] for units in groups.values()]


def _order(unit: tuple[Any, Any]) -> tuple[tuple[bool, float, str], ...]:
    return tuple((part is None, part if isinstance(part, int | float) else 0.0, str(part)) for part in unit)


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
