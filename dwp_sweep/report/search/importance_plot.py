"""Bars of parameter importance: a panel a condition and objective, the most important parameter on top."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from dwp_sweep.report.search.picture import COLOURS, SearchPicture, columns_of, style, words_of
from dwp_sweep.stages.drawing import INK, MUTED
from dwp_sweep.tracking.read.trials import Importance


def importance_plot(sweep: str, importances: Sequence[Importance]) -> SearchPicture | None:
    """Draw all that could be told; None where nothing could."""
    known = [one for one in importances if one.shares]
    if not known:
        return None
    n_rows, n_columns = columns_of(len(known), 2)
    n_bars = max(len(one.shares) for one in known)
    picture = SearchPicture(1.2 + 4.2 * n_columns, 0.9 + (0.75 + 0.34 * n_bars) * n_rows)
    panels = picture.subplots(n_rows, n_columns, squeeze=False, sharex=True)
    for axis in panels.flat[len(known) :]:
        axis.set_visible(False)
    is_alone = len({one.condition for one in importances}) == 1
    for axis, one in zip(panels.flat, known, strict=False):
        _panel(axis, one, is_alone)
    picture.suptitle(f"{sweep}: what mattered", fontsize=11.5, color=INK)
    picture.supxlabel(
        "share of importance (PED-ANOVA): where the best configurations differ from all",
        fontsize=9,
        color=MUTED,
    )
    return picture


def _panel(axis: Axes, one: Importance, is_alone: bool) -> None:
    style(axis, "x")
    names, shares = list(one.shares), list(one.shares.values())
    axis.barh(range(len(names)), shares, color=COLOURS[0], height=0.62)
    for place, share in enumerate(shares):
        axis.annotate(
            f"{100 * share:.0f} %", (share, place), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=8.5, color=INK,
        )  # fmt: skip
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(axis="y", colors=INK, length=0)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.12)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axis.spines["left"].set_visible(False)
    title = words_of(one.metric) if is_alone else f"{one.condition}: {words_of(one.metric)}"
    note = f"  ({one.n_complete} complete, {one.n_pruned} given up)"
    axis.set_title(title + note, loc="left", fontsize=9.5, color=INK)
