"""Two objectives of a search against each other: all complete configurations, the front, its knee."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dwp_sweep.report.search.picture import COLOURS, MARKERS, SearchPicture, style, words_of
from dwp_sweep.stages.drawing import INK
from dwp_sweep.tracking.read.pareto import front_of, knee_of
from dwp_sweep.tracking.read.trials import SearchTrials, TrialRow

_LOG_RANGE = 30.0


def pareto_plot(found: SearchTrials) -> SearchPicture | None:
    """Draw the second objective across, the first upwards; None unless there are two with results."""
    if len(found.goals) != 2 or not any(_finite(found, condition) for condition in found.conditions):
        return None
    picture = SearchPicture(6.4, 4.8)
    axis = picture.subplots()
    style(axis)
    for place, condition in enumerate(found.conditions):
        _condition(axis, found, condition, COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)])
    up, across = found.goals
    axis.set_ylabel(_label(up.metric, up.mode), fontsize=9.5, color=INK)
    axis.set_xlabel(_label(across.metric, across.mode), fontsize=9.5, color=INK)
    values = [row.results[1] for row in found.trials if row.state == "complete"]
    if min(values) > 0 and max(values) > _LOG_RANGE * min(values):
        axis.set_xscale("log")
    about = "two validation metrics" if across.metric.startswith("val_") else "what a result costs"
    axis.set_title(f"{found.sweep}: {about}", loc="left", fontsize=11.5, color=INK, pad=10)
    _legend(picture, found)
    return picture


def _finite(found: SearchTrials, condition: str) -> list[TrialRow]:
    return [row for row in found.of(condition, "complete") if all(map(math.isfinite, row.results))]


def _condition(axis: Axes, found: SearchTrials, condition: str, colour: str, marker: str) -> None:
    rows = _finite(found, condition)
    if not rows:
        return
    signs = [goal.sign for goal in found.goals]
    points = [row.results for row in rows]
    places = front_of(points, signs)
    axis.plot(
        [point[1] for point in points], [point[0] for point in points], marker, ls="", ms=6, mfc=colour,
        mec="white", alpha=0.35, zorder=2,
    )  # fmt: skip
    front = sorted((points[place] for place in places), key=lambda point: point[1])
    # Between two points of a front nothing is known to be reached: steps, no slopes. What comes with a
    # smaller cost has been reached with a larger one as well.
    steps = "steps-post" if found.goals[1].mode == "min" else "steps-pre"
    axis.plot([p[1] for p in front], [p[0] for p in front], color=colour, lw=1.4, drawstyle=steps, zorder=3)
    axis.plot(
        [p[1] for p in front], [p[0] for p in front], marker, ls="", ms=7.5, mfc=colour, mec="white", mew=0.8,
        zorder=4,
    )  # fmt: skip
    knee = knee_of([points[place] for place in places], signs)
    if knee is not None:
        row = rows[places[knee]]
        axis.plot(row.results[1], row.results[0], "o", ms=14, mfc="none", mec=INK, mew=1.3, zorder=5)
        axis.annotate(
            f"trial {row.number}", (row.results[1], row.results[0]), xytext=(10, -12),
            textcoords="offset points", fontsize=8.5, color=INK,
        )  # fmt: skip


def _label(metric: str, mode: str) -> str:
    return f"{words_of(metric)}, {'more' if mode == 'max' else 'less'} is better"


def _legend(picture: SearchPicture, found: SearchTrials) -> None:
    first = COLOURS[0]
    handles = [
        Line2D([], [], color=first, marker=MARKERS[0], lw=1.4, label="front"),
        Line2D([], [], ls="", marker=MARKERS[0], color=first, alpha=0.35, label="beaten by another"),
    ]
    if any(len(front_of([r.results for r in _finite(found, name)], [g.sign for g in found.goals])) >= 3
           for name in found.conditions):  # fmt: skip
        handles.append(Line2D([], [], ls="", marker="o", ms=11, mfc="none", mec=INK, label="knee"))
    if len(found.conditions) > 1:
        handles += [
            Line2D([], [], ls="", marker=MARKERS[n % 8], color=COLOURS[n % 8], label=name)
            for n, name in enumerate(found.conditions[:8])
        ]
    picture.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
