"""A forest plot of paired differences: a row a method or variant, a panel a training size.

The thin bar with ends is the interval over splits, the thick one that over test subjects. Drawn with
matplotlib's object interface (no global state, no display).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dwp_sweep.errors import figure_text
from dwp_sweep.report.answers.paper_table import METRICS
from dwp_sweep.report.paired.differences import PairedDifference, PairedTable

_INK, _MUTED, _GRID = "#22252b", "#6b7280", "#e5e7eb"
_THICK, _THIN = "#0072B2", "#22252b"
_LABELS = (
    "mean difference",
    "95 % over test subjects (these networks)",
    "95 % over splits (training again)",
)
_MAX_REACH = 3.0
"""The axis reaches at most so many times further than estimates and thick bars: with two splits a thin
bar is twelve standard errors long, and everything else would be a dot."""


def forest_figure(tables: Sequence[PairedTable], path: Path) -> None:
    """Draw the differences to every reference, one row of panels each.

    Args:
        tables: At least one, all of the same metric.
        path: PNG to write; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    forest(tables).savefig(path, dpi=150, metadata={"Software": None})


def forest(tables: Sequence[PairedTable]) -> Figure:
    """The same as a figure that is not written yet."""
    sizes = sorted({row.train_size for table in tables for row in table.rows})
    n_names = max(len(_names(table)) for table in tables)
    figure = Figure(
        figsize=(1.8 + 2.7 * len(sizes), (0.9 + 0.32 * n_names) * len(tables) + 0.7), layout="constrained"
    )
    panels = figure.subplots(len(tables), len(sizes), squeeze=False, sharex=True, sharey="row")
    for table, axes in zip(tables, panels, strict=True):
        for size, axis in zip(sizes, axes, strict=True):
            _panel(axis, table, size)
    panels[0][0].set_xlim(*_limits(tables))
    metric = METRICS.get(tables[0].metric, tables[0].metric)
    for axis in panels[-1]:
        axis.set_xlabel(f"difference in {figure_text(metric, 30)}", fontsize=8, color=_INK)
    _legend(figure, panels[0][0], n_columns=min(3, len(sizes)))
    return figure


def _panel(axis: Axes, table: PairedTable, size: int) -> None:
    names = _names(table)
    axis.axvline(0, color=_INK, lw=0.8, zorder=1)
    for row in table.rows:
        if row.train_size == size:
            _draw(axis, row, names.index(row.name))
    axis.set_yticks(range(len(names)), [figure_text(name, 30, 2) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_title(
        f"m = {size}, minus {figure_text(table.reference, 24)}", loc="left", fontsize=9, color=_INK
    )
    axis.grid(color=_GRID, lw=0.8, axis="x")
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(_MUTED)
    axis.tick_params(axis="x", colors=_MUTED, labelsize=8)
    axis.tick_params(axis="y", colors=_INK, labelsize=8, length=0)


def _draw(axis: Axes, row: PairedDifference, place: int) -> None:
    if row.over_splits is not None:
        axis.errorbar(
            row.mean, place, xerr=[[row.mean - row.over_splits.low], [row.over_splits.high - row.mean]],
            fmt="none", ecolor=_THIN, elinewidth=1.0, capsize=3, zorder=2,
            label=_LABELS[2],
        )  # fmt: skip
    if row.over_subjects is not None:
        axis.plot(
            row.over_subjects, (place, place), color=_THICK, lw=6, alpha=0.55, solid_capstyle="butt",
            zorder=3, label=_LABELS[1],
        )  # fmt: skip
    axis.plot(row.mean, place, "o", ms=3.5, color=_THIN, zorder=4, label=_LABELS[0])


def _legend(figure: Figure, axis: Axes, n_columns: int) -> None:
    handles, labels = axis.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    names = [name for name in _LABELS if name in by_label]
    figure.legend(
        [by_label[name] for name in names], names, loc="outside lower left", ncols=n_columns, frameon=False,
        fontsize=8,
    )  # fmt: skip


def _names(table: PairedTable) -> list[str]:
    return list(dict.fromkeys(row.name for row in table.rows))


def _limits(tables: Sequence[PairedTable]) -> tuple[float, float]:
    rows = [row for table in tables for row in table.rows]
    near = [0.0, *(value for row in rows for value in (row.mean, *(row.over_subjects or ())))]
    far = [*near, *(value for row in rows for value in (row.over_splits or ()))]
    reach = _MAX_REACH * max(map(abs, near))
    low, high = max(min(far), -reach), min(max(far), reach)
    margin = 0.05 * (high - low) or 0.01
    return low - margin, high + margin
