"""Learning curves of a search: one line a network, a panel a condition.

The best configuration stands out, those that were given up end early in a cross.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dwp_sweep.report.search.picture import COLOURS, PALE, SearchPicture, columns_of, style, words_of
from dwp_sweep.stages.drawing import INK, MUTED
from dwp_sweep.tracking.read.trials import SearchTrials, TrialRow

_BEST, _GIVEN_UP = COLOURS[0], COLOURS[1]


def learning_curves(found: SearchTrials) -> SearchPicture | None:
    """Draw the validation metric by epoch; None where no network has reported any."""
    conditions = [
        condition for condition in found.conditions if any(row.curves for row in found.of(condition))
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
        _panel(axis, found, condition)
        if place % n_columns == 0:
            axis.set_ylabel(words_of(found.curve), fontsize=9.5, color=INK)
        if place >= len(conditions) - n_columns:
            axis.set_xlabel("Epoch", fontsize=9.5, color=INK)
            axis.tick_params(labelbottom=True)
    picture.suptitle(f"{found.sweep}: learning curves, one line for each network", fontsize=11.5, color=INK)
    _legend(picture, found)
    return picture


def _panel(axis: Axes, found: SearchTrials, condition: str) -> None:
    style(axis)
    best = found.best(condition, goal) if (goal := _goal(found)) is not None else None
    for row in found.of(condition):
        if row is not best:
            _draw(axis, row, _GIVEN_UP if row.state == "pruned" else PALE, 1.0, 2)
    if best is not None:
        _draw(axis, best, _BEST, 2.2, 3)
    counts = found.counts(condition)
    name = "" if condition == "all" else f"{condition}: "
    axis.set_title(
        f"{name}{counts['complete']} complete, {counts['pruned']} given up",
        loc="left",
        fontsize=9.5,
        color=INK,
    )
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _goal(found: SearchTrials) -> int | None:
    """The objective that the curves show; a search for one thing has no other."""
    metrics = [goal.metric for goal in found.goals]
    return metrics.index(found.curve) if found.curve in metrics else 0 if len(metrics) == 1 else None


def _draw(axis: Axes, row: TrialRow, colour: str, width: float, layer: int) -> None:
    for place, curve in enumerate(row.curves):
        epochs, values = zip(*curve, strict=True)
        is_short = len(curve) == 1
        axis.plot(
            epochs, values, color=colour, lw=width, marker="o" if is_short else None, ms=3, zorder=layer
        )
        if row.state == "pruned" and place == len(row.curves) - 1:
            axis.plot(epochs[-1], values[-1], "x", ms=6, mec=colour, mew=1.5, zorder=layer + 1)


def _legend(picture: SearchPicture, found: SearchTrials) -> None:
    counts = found.counts()
    handles = [Line2D([], [], color=PALE, lw=1.5, label="complete")]
    if _goal(found) is not None and counts["complete"]:
        label = "best configuration" if len(found.goals) == 1 else f"best {found.curve}"
        handles.insert(0, Line2D([], [], color=_BEST, lw=2.2, label=label))
    if counts["pruned"]:
        handles.append(Line2D([], [], color=_GIVEN_UP, marker="x", lw=1.0, label="given up"))
    if counts["failed"]:
        handles.append(Line2D([], [], ls="", label=f"{counts['failed']} failed, not drawn", color=MUTED))
    picture.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
