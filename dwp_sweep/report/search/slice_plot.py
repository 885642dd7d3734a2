"""Slice plot of a search: the objective against each parameter, one colour a condition.

Dots are complete configurations, crosses those that were given up, at what they had reached. Where only
one condition was searched its best one is ringed.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dwp_sweep.report.search.picture import (
    COLOURS,
    MARKERS,
    SearchPicture,
    columns_of,
    number_axis,
    style,
    value_limits,
    words_of,
)
from dwp_sweep.stages.drawing import INK, MUTED
from dwp_sweep.tracking.read.trials import Parameter, SearchTrials, TrialRow

_JITTER = 0.16


def slice_plot(found: SearchTrials, goal: int = 0) -> SearchPicture:
    """Draw one objective against each parameter.

    Args:
        found: With at least one parameter.
        goal: Which objective.
    """
    n_rows, n_columns = columns_of(len(found.parameters))
    picture = SearchPicture(0.6 + 3.1 * n_columns, 0.9 + 2.55 * n_rows)
    panels = picture.subplots(n_rows, n_columns, squeeze=False, sharey=True)
    for axis in panels.flat[len(found.parameters) :]:
        axis.set_visible(False)
    for place, parameter in enumerate(found.parameters):
        axis = panels.flat[place]
        _panel(axis, found, parameter, goal)
        if place % n_columns == 0:
            axis.set_ylabel(words_of(found.goals[goal].metric), fontsize=9.5, color=INK)
    heights = [height for row in found.trials if (height := _height(row, goal)) is not None]
    panels[0][0].set_ylim(*value_limits(heights))
    picture.suptitle(f"{found.sweep}: what was tried", fontsize=11.5, color=INK)
    _legend(picture, found)
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
    plain = text if len(text) <= longest else text.replace(", ", ",\n").replace("_", "_\n", 1)
    return "\n".join(
        line if len(line) <= longest + 4 else line[: longest + 3] + "…" for line in plain.split("\n")
    )


def _panel(axis: Axes, found: SearchTrials, parameter: Parameter, goal: int) -> None:
    style(axis, "y" if parameter.choices else "both")
    axis.set_xlabel(parameter.name, fontsize=9.5, color=INK)
    draws = np.random.default_rng(0)
    for place, condition in enumerate(found.conditions):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        for row in found.of(condition):
            height = _height(row, goal)
            if height is None or parameter.name not in row.values:
                continue
            across = place_of(row.values[parameter.name], parameter)
            across += draws.uniform(-_JITTER, _JITTER) if parameter.choices else 0.0
            _point(axis, across, height, row, colour, marker)
        best = found.best(condition, goal)
        if best is not None and parameter.name in best.values and not parameter.choices:
            across = place_of(best.values[parameter.name], parameter)
            axis.plot(across, best.results[goal], "o", ms=12, mfc="none", mec=INK, mew=1.2, zorder=4)
    if parameter.choices:
        axis.set_xticks(range(len(parameter.choices)), [shown_choice(text) for text in parameter.choices])
        axis.set_xlim(-0.5, len(parameter.choices) - 0.5)
        axis.tick_params(axis="x", colors=INK)
    else:
        assert parameter.low is not None and parameter.high is not None
        number_axis(axis, parameter.low, parameter.high, parameter.is_log, found.is_whole(parameter.name))


def _height(row: TrialRow, goal: int) -> float | None:
    return row.results[goal] if row.state == "complete" else row.reached


def _point(axis: Axes, across: float, height: float, row: TrialRow, colour: str, marker: str) -> None:
    if row.state == "complete":
        axis.plot(across, height, marker, ms=6.5, mfc=colour, mec="white", mew=0.8, alpha=0.95, zorder=3)
    else:
        axis.plot(across, height, "x", ms=5.5, mec=colour, mew=1.3, alpha=0.7, zorder=2)


def _legend(picture: SearchPicture, found: SearchTrials) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", marker=MARKERS[n % len(MARKERS)], color=COLOURS[n % len(COLOURS)], label=name)
        for n, name in enumerate(found.conditions[: len(COLOURS)])
        if len(found.conditions) > 1
    ]
    counts = found.counts()
    handles.append(Line2D([], [], ls="", marker="o", color=MUTED, label=f"complete ({counts['complete']})"))
    if counts["pruned"]:
        handles.append(Line2D([], [], ls="", marker="x", color=MUTED, label=f"given up ({counts['pruned']})"))
    handles.append(Line2D([], [], ls="", marker="o", ms=10, mfc="none", mec=INK, label="best"))
    picture.legend(
        handles=handles, loc="outside lower center", ncols=min(5, len(handles)), frameon=False, fontsize=9
    )
