"""Configurations of a search over their parameters: a slice plot and parallel coordinates.

The slice plot shows the objective against each parameter, one colour a condition: dots are complete
configurations, crosses those that were given up, at what they had reached. Parallel coordinates have an
axis a parameter, the objective on the right, and a line a configuration in the colour of its objective.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator

from dwp_sweep.errors import figure_text, visible
from dwp_sweep.report.search.picture import (
    COLOURS,
    MARKERS,
    PALE,
    SearchPicture,
    columns_of,
    number,
    number_axis,
    style,
    value_limits,
    words_of,
)
from dwp_sweep.stages.figures import INK, MUTED
from dwp_sweep.tracking.read.trials import Parameter, SearchTrials, TrialRow

_JITTER = 0.16
_MAX_LINES = 4
"""Of a choice on an axis."""
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


def slice_plot(trials: SearchTrials, goal: int = 0) -> SearchPicture:
    """Draw one objective against each parameter.

    Args:
        trials: With at least one parameter.
        goal: Which objective.
    """
    n_rows, n_columns = columns_of(len(trials.parameters))
    picture = SearchPicture(0.6 + 3.1 * n_columns, 0.9 + 2.55 * n_rows)
    panels = picture.subplots(n_rows, n_columns, squeeze=False, sharey=True)
    for axis in panels.flat[len(trials.parameters) :]:
        axis.set_visible(False)
    for place, parameter in enumerate(trials.parameters):
        axis = panels.flat[place]
        _panel(axis, trials, parameter, goal)
        if place % n_columns == 0:
            axis.set_ylabel(words_of(trials.goals[goal].metric), fontsize=9.5, color=INK)
    heights = [height for row in trials.trials if (height := _height(row, goal)) is not None]
    panels[0][0].set_ylim(*value_limits(heights))
    picture.suptitle(f"{figure_text(trials.sweep)}: what was tried", fontsize=11.5, color=INK)
    _legend(picture, trials)
    return picture


def place_of(value: Any, parameter: Parameter) -> float:
    """Where a value stands on the axis of its parameter; choices count from 0."""
    if not parameter.choices:
        return float(value)
    # Choices that are no plain text were offered as JSON.
    text = value if isinstance(value, str) and value in parameter.choices else json.dumps(value)
    return float(parameter.choices.index(text if text in parameter.choices else str(value)))


def shown_choice(text: str, longest: int = 14) -> str:
    """A choice on an axis: underscores may break the line, long ones are cut."""
    text = visible(text, one_line=True)
    lines = [text] if len(text) <= longest else text.replace(", ", ",\n").replace("_", "_\n", 1).split("\n")
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], "…"]
    return "\n".join(
        figure_text(line if len(line) <= longest + 4 else line[: longest + 3] + "…") for line in lines
    )


def parallel_plot(trials: SearchTrials, goal: int = 0) -> SearchPicture | None:
    """Draw every configuration that has ended; None where none is complete."""
    complete = [row for row in trials.trials if row.state == "complete"]
    if not complete:
        return None
    results = [row.results[goal] for row in complete if math.isfinite(row.results[goal])] or [0.0]
    low, high = min(results), max(results)
    columns = _columns(trials)
    last = _number_column(words_of(trials.goals[goal].metric), low, high, False)
    picture = SearchPicture(1.2 + 1.55 * (len(columns) + 1), 4.4)
    axis = picture.subplots()
    norm = Normalize(low, high)
    sign = trials.goals[goal].sign
    for row in [row for row in trials.trials if row.state == "pruned"]:
        _line(axis, _heights(row, trials, columns), PALE, 0.9, 1)
    for row in sorted(complete, key=lambda row: sign * row.results[goal]):  # the best lie on top
        heights = [*_heights(row, trials, columns), last.height(row.results[goal])]
        _line(axis, heights, _MAP(norm(row.results[goal])), 1.7, 2)
    _frame(axis, [*columns, last], has_gaps=_has_gaps(trials, columns))
    _scale(axis, len(columns))
    n_pruned = trials.counts()["pruned"]
    words = f", {n_pruned} pruned (pale)" if n_pruned else ""
    picture.suptitle(
        f"{figure_text(trials.sweep)}: {len(complete)} complete configurations{words}",
        fontsize=11.5,
        color=INK,
    )
    return picture


def _panel(axis: Axes, trials: SearchTrials, parameter: Parameter, goal: int) -> None:
    style(axis, "y" if parameter.choices else "both")
    axis.set_xlabel(figure_text(parameter.name, 40), fontsize=9.5, color=INK)
    draws = np.random.default_rng(0)
    for place, condition in enumerate(trials.conditions):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        for row in trials.of(condition):
            height = _height(row, goal)
            if height is None or parameter.name not in row.values:
                continue
            across = place_of(row.values[parameter.name], parameter)
            across += draws.uniform(-_JITTER, _JITTER) if parameter.choices else 0.0
            _point(axis, across, height, row, colour, marker)
        best = trials.best(condition, goal)
        if best is not None and parameter.name in best.values and not parameter.choices:
            across = place_of(best.values[parameter.name], parameter)
            axis.plot(across, best.results[goal], "o", ms=12, mfc="none", mec=INK, mew=1.2, zorder=4)
    if parameter.choices:
        axis.set_xticks(range(len(parameter.choices)), [shown_choice(text) for text in parameter.choices])
        axis.set_xlim(-0.5, len(parameter.choices) - 0.5)
        axis.tick_params(axis="x", colors=INK)
    else:
        assert parameter.low is not None and parameter.high is not None
        number_axis(axis, parameter.low, parameter.high, parameter.is_log, trials.is_whole(parameter.name))


def _height(row: TrialRow, goal: int) -> float | None:
    return row.results[goal] if row.state == "complete" else row.reached


def _legend(picture: SearchPicture, trials: SearchTrials) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            ls="",
            marker=MARKERS[n % len(MARKERS)],
            color=COLOURS[n % len(COLOURS)],
            label=figure_text(name, 30, 2),
        )
        for n, name in enumerate(trials.conditions[: len(COLOURS)])
        if len(trials.conditions) > 1
    ]
    counts = trials.counts()
    handles.append(Line2D([], [], ls="", marker="o", color=MUTED, label=f"complete ({counts['complete']})"))
    if counts["pruned"]:
        handles.append(Line2D([], [], ls="", marker="x", color=MUTED, label=f"pruned ({counts['pruned']})"))
    handles.append(Line2D([], [], ls="", marker="o", ms=10, mfc="none", mec=INK, label="best"))
    picture.legend(
        handles=handles, loc="outside lower center", ncols=min(5, len(handles)), frameon=False, fontsize=9
    )


def _columns(trials: SearchTrials) -> list[_Column]:
    columns = []
    if len(trials.conditions) > 1:
        ticks = tuple((float(n), shown_choice(name, 18)) for n, name in enumerate(trials.conditions))
        columns.append(_Column("condition", 0.0, max(len(ticks) - 1.0, 1.0), ticks=ticks))
    return columns + [_column(parameter, trials) for parameter in trials.parameters]


def _number_column(name: str, low: float, high: float, is_log: bool, is_whole: bool = False) -> _Column:
    if not is_log:
        ticks = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10], integer=is_whole).tick_values(low, high)
        inside = [float(value) for value in ticks if low <= value <= high]
        return _Column(name, low, high, ticks=tuple((value, f"{value:.4g}") for value in inside))
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    values = [10.0**power for power in powers]
    values = values if len(values) > 1 else [low, math.sqrt(low * high), high]
    return _Column(name, low, high, True, tuple((value, number(value)) for value in values))


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


def _heights(row: TrialRow, trials: SearchTrials, columns: Sequence[_Column]) -> list[float]:
    values: list[float | None] = [
        place_of(row.values[parameter.name], parameter) if parameter.name in row.values else None
        for parameter in trials.parameters
    ]
    if len(values) < len(columns):
        values.insert(0, float(trials.conditions.index(row.condition)))
    return [
        _NONE if value is None else column.height(value)
        for value, column in zip(values, columns, strict=True)
    ]


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
            f"{figure_text(column.name, 24)}{scale}", (place, 1), xytext=(0, 9), textcoords="offset points",
            ha="center", va="bottom", fontsize=9, color=INK,
        )  # fmt: skip
    axis.set_xlim(-0.6, len(columns) - 1 + 0.12)
    axis.set_ylim(foot - 0.05, 1.02)
    axis.set_axis_off()


def _has_gaps(trials: SearchTrials, columns: Sequence[_Column]) -> list[bool]:
    rows = [row for row in trials.trials if row.state in ("complete", "pruned")]
    gaps = [any(parameter.name not in row.values for row in rows) for parameter in trials.parameters]
    return [False] * (len(columns) - len(gaps)) + gaps + [False]


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


def _point(axis: Axes, across: float, height: float, row: TrialRow, colour: str, marker: str) -> None:
    if row.state == "complete":
        axis.plot(across, height, marker, ms=6.5, mfc=colour, mec="white", mew=0.8, alpha=0.95, zorder=3)
    else:
        axis.plot(across, height, "x", ms=5.5, mec=colour, mew=1.3, alpha=0.7, zorder=2)


def _column(parameter: Parameter, trials: SearchTrials) -> _Column:
    if parameter.choices:
        ticks = tuple((float(n), shown_choice(text, 14)) for n, text in enumerate(parameter.choices))
        return _Column(parameter.name, 0.0, max(len(ticks) - 1.0, 1.0), ticks=ticks)
    assert parameter.low is not None and parameter.high is not None
    is_whole = trials.is_whole(parameter.name)
    return _number_column(parameter.name, parameter.low, parameter.high, parameter.is_log, is_whole)
