"""What came out of a search: learning curves, importance of parameters, two objectives against each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dwp_sweep.errors import figure_text
from dwp_sweep.report.search.picture import COLOURS, MARKERS, PALE, SearchPicture, columns_of, style, words_of
from dwp_sweep.stages.figures import INK, MUTED
from dwp_sweep.tracking.read.pareto import front_of, knee_of
from dwp_sweep.tracking.read.trials import Importance, SearchTrials, TrialRow

_BEST, _GIVEN_UP = COLOURS[0], COLOURS[1]
_LOG_RANGE = 30.0


def learning_curves(trials: SearchTrials) -> SearchPicture | None:
    """Draw the validation metric by epoch; None where no network has reported any."""
    conditions = [
        condition for condition in trials.conditions if any(row.curves for row in trials.of(condition))
    ]
    if not conditions:
        return None
    n_rows, n_columns = columns_of(len(conditions))
    picture = SearchPicture(0.8 + 4.0 * n_columns, 1.0 + 3.0 * n_rows)
    panels = picture.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    for axis in panels.flat[len(conditions) :]:
        axis.set_visible(False)
    for place, condition in enumerate(conditions):
        axis = panels.flat[place]
        _curves_panel(axis, trials, condition)
        if place % n_columns == 0:
            axis.set_ylabel(words_of(trials.curve), fontsize=9.5, color=INK)
        if place >= len(conditions) - n_columns:
            axis.set_xlabel("Epoch", fontsize=9.5, color=INK)
            axis.tick_params(labelbottom=True)
    picture.suptitle(
        f"{figure_text(trials.sweep)}: learning curves, one line for each network", fontsize=11.5, color=INK
    )
    _curves_legend(picture, trials)
    return picture


def importance_plot(sweep: str, importances: Sequence[Importance]) -> SearchPicture | None:
    """Draw all that could be told; None where nothing could."""
    known = [importance for importance in importances if importance.shares]
    if not known:
        return None
    n_rows, n_columns = columns_of(len(known), 2)
    n_bars = max(len(importance.shares) for importance in known)
    picture = SearchPicture(1.2 + 4.2 * n_columns, 0.9 + (0.75 + 0.34 * n_bars) * n_rows)
    panels = picture.subplots(n_rows, n_columns, squeeze=False, sharex=True)
    for axis in panels.flat[len(known) :]:
        axis.set_visible(False)
    is_alone = len({importance.condition for importance in importances}) == 1
    for axis, importance in zip(panels.flat, known, strict=False):
        _importance_panel(axis, importance, is_alone)
    picture.suptitle(f"{figure_text(sweep)}: what mattered", fontsize=11.5, color=INK)
    picture.supxlabel(
        "share of importance (PED-ANOVA): where the best configurations differ from all",
        fontsize=9,
        color=MUTED,
    )
    return picture


def pareto_plot(trials: SearchTrials) -> SearchPicture | None:
    """Draw the second objective across, the first upwards; None unless there are two with results."""
    if len(trials.goals) != 2 or not any(_finite(trials, condition) for condition in trials.conditions):
        return None
    picture = SearchPicture(6.4, 4.8)
    axis = picture.subplots()
    style(axis)
    for place, condition in enumerate(trials.conditions):
        _draw_condition(axis, trials, condition, COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)])
    up, across = trials.goals
    axis.set_ylabel(_label(up.metric, up.mode), fontsize=9.5, color=INK)
    axis.set_xlabel(_label(across.metric, across.mode), fontsize=9.5, color=INK)
    values = [row.results[1] for row in trials.trials if row.state == "complete"]
    if min(values) > 0 and max(values) > _LOG_RANGE * min(values):
        axis.set_xscale("log")
    about = "two validation metrics" if across.metric.startswith("val_") else "what a result costs"
    axis.set_title(f"{figure_text(trials.sweep, 44)}: {about}", loc="left", fontsize=11.5, color=INK, pad=10)
    _pareto_legend(picture, trials)
    return picture


def _curves_panel(axis: Axes, trials: SearchTrials, condition: str) -> None:
    style(axis)
    best = trials.best(condition, goal) if (goal := _goal(trials)) is not None else None
    for row in trials.of(condition):
        if row is not best:
            _draw_curves(axis, row, _GIVEN_UP if row.state == "pruned" else PALE, 1.0, 2)
    if best is not None:
        _draw_curves(axis, best, _BEST, 2.2, 3)
    counts = trials.counts(condition)
    name = "" if condition == "all" else f"{figure_text(condition, 36)}: "
    axis.set_title(
        f"{name}{counts['complete']} complete, {counts['pruned']} pruned",
        loc="left",
        fontsize=9.5,
        color=INK,
    )
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _curves_legend(picture: SearchPicture, trials: SearchTrials) -> None:
    counts = trials.counts()
    handles = [Line2D([], [], color=PALE, lw=1.5, label="complete")]
    if _goal(trials) is not None and counts["complete"]:
        label = "best configuration" if len(trials.goals) == 1 else f"best {trials.curve}"
        handles.insert(0, Line2D([], [], color=_BEST, lw=2.2, label=label))
    if counts["pruned"]:
        handles.append(Line2D([], [], color=_GIVEN_UP, marker="x", lw=1.0, label="pruned"))
    if counts["failed"]:
        handles.append(Line2D([], [], ls="", label=f"{counts['failed']} failed, not drawn", color=MUTED))
    picture.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def _importance_panel(axis: Axes, importance: Importance, is_alone: bool) -> None:
    style(axis, "x")
    names, shares = list(importance.shares), list(importance.shares.values())
    axis.barh(range(len(names)), shares, color=COLOURS[0], height=0.62)
    for place, share in enumerate(shares):
        axis.annotate(
            f"{100 * share:.0f} %", (share, place), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=8.5, color=INK,
        )  # fmt: skip
    axis.set_yticks(range(len(names)), [figure_text(name, 30, 2) for name in names])
    axis.tick_params(axis="y", colors=INK, length=0)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.12)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axis.spines["left"].set_visible(False)
    title = (
        words_of(importance.metric)
        if is_alone
        else f"{figure_text(importance.condition, 36)}: {words_of(importance.metric)}"
    )
    note = f"  ({importance.n_complete} complete, {importance.n_pruned} pruned)"
    axis.set_title(title + note, loc="left", fontsize=9.5, color=INK)


def _finite(trials: SearchTrials, condition: str) -> list[TrialRow]:
    return [row for row in trials.of(condition, "complete") if all(map(math.isfinite, row.results))]


def _draw_condition(axis: Axes, trials: SearchTrials, condition: str, colour: str, marker: str) -> None:
    rows = _finite(trials, condition)
    if not rows:
        return
    signs = [goal.sign for goal in trials.goals]
    points = [row.results for row in rows]
    places = front_of(points, signs)
    axis.plot(
        [point[1] for point in points], [point[0] for point in points], marker, ls="", ms=6, mfc=colour,
        mec="white", alpha=0.35, zorder=2,
    )  # fmt: skip
    front = sorted((points[place] for place in places), key=lambda point: point[1])
    # Between two points of a front nothing is known to be reached: steps, no slopes. What comes with a
    # smaller cost has been reached with a larger one as well.
    steps = "steps-post" if trials.goals[1].mode == "min" else "steps-pre"
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


def _pareto_legend(picture: SearchPicture, trials: SearchTrials) -> None:
    first = COLOURS[0]
    handles = [
        Line2D([], [], color=first, marker=MARKERS[0], lw=1.4, label="front"),
        Line2D([], [], ls="", marker=MARKERS[0], color=first, alpha=0.35, label="beaten by another"),
    ]
    if any(len(front_of([r.results for r in _finite(trials, name)], [g.sign for g in trials.goals])) >= 3
           for name in trials.conditions):  # fmt: skip
        handles.append(Line2D([], [], ls="", marker="o", ms=11, mfc="none", mec=INK, label="knee"))
    if len(trials.conditions) > 1:
        handles += [
            Line2D([], [], ls="", marker=MARKERS[n % 8], color=COLOURS[n % 8], label=figure_text(name, 30, 2))
            for n, name in enumerate(trials.conditions[:8])
        ]
    picture.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def _goal(trials: SearchTrials) -> int | None:
    """The objective that the curves show; a search for one thing has no other."""
    metrics = [goal.metric for goal in trials.goals]
    return metrics.index(trials.curve) if trials.curve in metrics else 0 if len(metrics) == 1 else None


def _draw_curves(axis: Axes, row: TrialRow, colour: str, width: float, layer: int) -> None:
    for place, curve in enumerate(row.curves):
        epochs, values = zip(*curve, strict=True)
        is_short = len(curve) == 1
        axis.plot(
            epochs, values, color=colour, lw=width, marker="o" if is_short else None, ms=3, zorder=layer
        )
        if row.state == "pruned" and place == len(row.curves) - 1:
            axis.plot(epochs[-1], values[-1], "x", ms=6, mec=colour, mew=1.5, zorder=layer + 1)
