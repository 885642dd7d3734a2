"""What the tables of answers share: the best configuration, the best of each condition, a Pareto front.

Each answer makes its own `dwp_sweep.tables.table.Table`; the names of columns and the texts of settings and
means are formed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dwp_sweep.tables.table import TableColumn, right
from dwp_sweep.tracking.params import setting_text
from dwp_sweep.tracking.read.candidates import Stat

_REPORTED = ("test_dice", "test_iou")
"""Test metrics that stand beside what decided, and never decide."""


def setting_texts(values: Mapping[str, object], names: Sequence[str]) -> list[str]:
    """The texts of some settings; a dash where one does not apply."""
    return [setting_text(values[name]) if name in values else "-" for name in names]


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
