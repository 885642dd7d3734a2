"""Parallel coordinates of a search: an axis a parameter, the objective on the right, a line a configuration.

Colour is the objective; what was given up is pale. A field that does not apply to a configuration leaves
its line at the foot of that axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator

from dwp_sweep.report.search.picture import PALE, SearchPicture, number, words_of
from dwp_sweep.report.search.slice_plot import place_of, shown_choice
from dwp_sweep.stages.drawing import INK, MUTED
from dwp_sweep.tracking.read.trials import Parameter, SearchTrials, TrialRow

_NONE = -0.14
"""Height of a field that does not apply."""
# The bright end of the map cannot be seen on white.
_MAP = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.9, 256)))


@dataclass(frozen=True)
class _Column:
    name: str
    low: float
    high: float
    is_log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()

    def height(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / ((self.high - self.low) or 1.0)


def parallel_plot(found: SearchTrials, goal: int = 0) -> SearchPicture | None:
    """Draw every configuration that has ended; None where none is complete."""
    complete = [row for row in found.trials if row.state == "complete"]
    if not complete:
        return None
    results = [row.results[goal] for row in complete if math.isfinite(row.results[goal])] or [0.0]
    low, high = min(results), max(results)
    columns = _columns(found)
    last = _number_column(words_of(found.goals[goal].metric), low, high, False)
    picture = SearchPicture(1.2 + 1.55 * (len(columns) + 1), 4.4)
    axis = picture.subplots()
    norm = Normalize(low, high)
    sign = found.goals[goal].sign
    for row in [one for one in found.trials if one.state == "pruned"]:
        _line(axis, _heights(row, found, columns), PALE, 0.9, 1)
    for row in sorted(complete, key=lambda one: sign * one.results[goal]):  # the best lie on top
        heights = [*_heights(row, found, columns), last.height(row.results[goal])]
        _line(axis, heights, _MAP(norm(row.results[goal])), 1.7, 2)
    _frame(axis, [*columns, last], has_gaps=_has_gaps(found, columns))
    _scale(axis, len(columns))
    n_pruned = found.counts()["pruned"]
    words = f", {n_pruned} given up (pale)" if n_pruned else ""
    picture.suptitle(
        f"{found.sweep}: {len(complete)} complete configurations{words}", fontsize=11.5, color=INK
    )
    return picture


def _columns(found: SearchTrials) -> list[_Column]:
    columns = []
    if len(found.conditions) > 1:
        ticks = tuple((float(n), shown_choice(name, 18)) for n, name in enumerate(found.conditions))
        columns.append(_Column("condition", 0.0, max(len(ticks) - 1.0, 1.0), ticks=ticks))
    return columns + [_column(parameter, found) for parameter in found.parameters]


def _column(parameter: Parameter, found: SearchTrials) -> _Column:
    if parameter.choices:
        ticks = tuple((float(n), shown_choice(text, 14)) for n, text in enumerate(parameter.choices))
        return _Column(parameter.name, 0.0, max(len(ticks) - 1.0, 1.0), ticks=ticks)
    assert parameter.low is not None and parameter.high is not None
    is_whole = found.is_whole(parameter.name)
    return _number_column(parameter.name, parameter.low, parameter.high, parameter.is_log, is_whole)


def _number_column(name: str, low: float, high: float, is_log: bool, is_whole: bool = False) -> _Column:
    if not is_log:
        ticks = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10], integer=is_whole).tick_values(low, high)
        inside = [float(value) for value in ticks if low <= value <= high]
        return _Column(name, low, high, ticks=tuple((value, f"{value:.4g}") for value in inside))
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    values = [10.0**power for power in powers]
    values = values if len(values) > 1 else [low, math.sqrt(low * high), high]
    return _Column(name, low, high, True, tuple((value, number(value)) for value in values))


def _heights(row: TrialRow, found: SearchTrials, columns: Sequence[_Column]) -> list[float]:
    values: list[float | None] = [
        place_of(row.values[parameter.name], parameter) if parameter.name in row.values else None
        for parameter in found.parameters
    ]
    if len(values) < len(columns):
        values.insert(0, float(found.conditions.index(row.condition)))
    return [
        _NONE if value is None else column.height(value)
        for value, column in zip(values, columns, strict=True)
    ]


def _has_gaps(found: SearchTrials, columns: Sequence[_Column]) -> list[bool]:
    rows = [row for row in found.trials if row.state in ("complete", "pruned")]
    gaps = [any(parameter.name not in row.values for row in rows) for parameter in found.parameters]
    return [False] * (len(columns) - len(gaps)) + gaps + [False]


def _line(axis: Axes, heights: Sequence[float], colour: object, width: float, layer: int) -> None:
    """A curve that is level at every axis: crossings stay readable where straight lines would merge."""
    points = [(0.0, heights[0])]
    for place, (before, after) in enumerate(pairwise(heights)):
        points += [(place + 0.4, before), (place + 0.6, after), (place + 1.0, after)]
    codes = [Outline.MOVETO] + [Outline.CURVE4] * (len(points) - 1)
    axis.add_patch(
        PathPatch(
            Outline(points, codes), fill=False, ec=colour, lw=width, alpha=0.9, zorder=layer, capstyle="round"
        )
    )


def _scale(axis: Axes, place: int) -> None:
    """The colours of the objective, along its own axis."""
    column = np.linspace(0.0, 1.0, 256)[:, None]
    axis.imshow(
        column,
        cmap=_MAP,
        extent=(place + 0.01, place + 0.07, 0.0, 1.0),
        origin="lower",
        aspect="auto",
        zorder=2,
    )


def _frame(axis: Axes, columns: Sequence[_Column], has_gaps: Sequence[bool]) -> None:
    foot = _NONE - 0.04 if any(has_gaps) else -0.04
    for place, (column, has_gap) in enumerate(zip(columns, has_gaps, strict=True)):
        axis.plot((place, place), (0, 1), color=INK, lw=1.1, zorder=3)
        for value, text in column.ticks:
            height = column.height(value)
            axis.plot((place - 0.025, place), (height, height), color=INK, lw=0.9, zorder=3)
            axis.annotate(
                text, (place, height), xytext=(-5, 0), textcoords="offset points", ha="right", va="center",
                fontsize=8, color=INK, zorder=5, linespacing=0.95,
                bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.8},
            )  # fmt: skip
        if has_gap:
            axis.annotate(
                "does not apply", (place, _NONE), xytext=(0, -9), textcoords="offset points", ha="center",
                va="center", fontsize=7.5, color=MUTED,
            )  # fmt: skip
            axis.plot(place, _NONE, "o", ms=3.5, color=MUTED, zorder=3)
        scale = "\n(log scale)" if column.is_log else ""
        axis.annotate(
            f"{column.name}{scale}", (place, 1), xytext=(0, 9), textcoords="offset points", ha="center",
            va="bottom", fontsize=9, color=INK,
        )  # fmt: skip
    axis.set_xlim(-0.6, len(columns) - 1 + 0.12)
    axis.set_ylim(foot - 0.05, 1.02)
    axis.set_axis_off()
