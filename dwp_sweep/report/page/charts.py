"""Charts of a report: a score over the training size (Figure 4), learning curves, and differences.

One line a method in its own colour. More than six methods get a panel each, with the others in grey behind,
since twelve lines in one panel can be told apart by nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dwp_sweep.errors import figure_text
from dwp_sweep.report.page.builder import FAINT, GRID, INK, MUTED, PAPER, Picture, Style, drawing, new_figure
from dwp_sweep.report.page.comparisons import Comparisons
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.score_tables import ScoreTable
from dwp_sweep.report.paired.differences import PairedTable
from dwp_sweep.report.paired.forest import forest
from dwp_sweep.tracking.read.runs import Curve

_MAX_LINES = 6
_PER_ROW = 4


def size_chart(table: ScoreTable, looks: Mapping[str, Style], name: str) -> Picture:
    """A score over the training size: mean as a line, every run as a dot.

    Args:
        table: Of the score.
        looks: Of each method or variant.
        name: Stem of the files.
    """
    with drawing():
        is_single = len(table.columns) <= _MAX_LINES
        if is_single:
            figure = new_figure(7.2, 4.0)
            axis = figure.subplots()
            for place, method in enumerate(table.columns):
                n = len(table.columns)
                offset = 0.0 if n < 2 else 0.22 * (place / (n - 1) - 0.5)  # dots of two methods never meet
                _score_line(axis, table, method, looks[method], offset, _label(table.columns[method]))
            _style(axis, table)
            axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9, handlelength=2.4)
        else:
            figure = _small_multiples(table, looks)
    return Picture(
        name,
        figure,
        f"{table.score.title} over the number of training scans, a line per method, as in the table.",
        f"{table.score.title} over the number of training scans m. Line: mean; dots: the "
        f"{table.n_repeats} runs (splits × seeds). After Figure 4 of the paper."
        + ("" if is_single else " One panel per method, the others in grey behind it."),
    )


def curve_chart(evidence: Evidence, looks: Mapping[str, Style]) -> Picture | None:
    """Validation Dice and training loss by epoch, a column a training size; None where no run has any.

    Lines are means over the runs that reached an epoch.
    """
    names = {
        "Validation Dice": ("val_dice",),
        "Training loss (data term)": ("train_data_loss", "train_loss"),
    }
    curves = {
        (title, size, method): _mean_curve(evidence, method, size, metrics)
        for title, metrics in names.items()
        for size in evidence.sizes
        for method in evidence.columns
    }
    if not any(curves.values()):
        return None
    with drawing():
        n = len(evidence.sizes)
        figure = new_figure(1.2 + 3.0 * n, 5.6 + 0.22 * math.ceil(len(looks) / 4))
        grid = figure.subplots(2, n, squeeze=False, sharex="col", sharey="row")
        for row, title in zip(grid, names, strict=True):
            for axis, size in zip(row, evidence.sizes, strict=True):
                for method in evidence.columns:
                    look, curve = looks[method], curves[title, size, method]
                    epochs, values = [epoch for epoch, _ in curve], [value for _, value in curve]
                    label = _label(evidence.columns[method])
                    axis.plot(epochs, values, color=look.colour, ls=look.dash, lw=1.3, label=label)
                _plain(axis)
                axis.set_title(f"{title}, m = {size}", fontsize=9)
            row[0].set_ylabel(title, fontsize=9)
        for axis in grid[1]:
            axis.set_xlabel("Epoch", fontsize=9)
        lines, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(
            lines, labels, loc="outside lower center", ncols=min(4, len(looks)), fontsize=8.5,
            handlelength=2.4,
        )  # fmt: skip
    return Picture(
        "learning_curves",
        figure,
        "Validation Dice and training loss by epoch, one line per method and a column per training size.",
        "Means over the runs that reached an epoch. Loss: the data term on training scans, without a bound.",
    )


def forest_picture(comparisons: Comparisons, reference: str) -> Picture | None:
    """The figure; None where nothing was compared with the reference."""
    rows = tuple(
        comparison.difference for comparison in comparisons.rows if comparison.reference == reference
    )
    if not rows:
        return None
    with drawing():
        figure = forest([PairedTable(reference, comparisons.metric, rows, ())])
    caption = (
        f"Difference to {reference}, subject by subject on the same test scans. Thin: 95 % over splits, for "
        "training again on other scans; thick: 95 % over test subjects, for these very networks."
    )
    alt = f"Mean differences in test Dice to {reference} with two intervals: the numbers of the table below."
    return Picture("differences", figure, alt, caption)


def _score_line(
    axis: Axes, table: ScoreTable, method: str, look: Style, offset: float, label: str | None
) -> None:
    sizes = [size for size in table.sizes if table.cells[size][method].cell.summary is not None]
    cells = [table.cells[size][method] for size in sizes]
    places = [table.sizes.index(size) + offset for size in sizes]
    means = [cell.cell.summary.mean for cell in cells if cell.cell.summary]
    for place, cell in zip(places, cells, strict=True):
        values = list(cell.values.values())
        axis.plot(
            [place] * len(values), values, ls="", marker=look.marker, ms=3.2, color=look.colour, alpha=0.55
        )
        axis.plot([place, place], [min(values), max(values)], color=look.colour, lw=0.8, alpha=0.5)
    axis.plot(
        places, means, color=look.colour, ls=look.dash, lw=1.8, marker=look.marker, ms=6, mec=PAPER, mew=0.8,
        label=label, zorder=3,
    )  # fmt: skip


def _label(name: str) -> str:
    return figure_text(name, 30, 2)


def _small_multiples(table: ScoreTable, looks: Mapping[str, Style]) -> Figure:
    n_rows = math.ceil(len(table.columns) / _PER_ROW)
    figure = new_figure(10.0, 0.4 + 2.0 * n_rows)
    grid = figure.subplots(n_rows, _PER_ROW, squeeze=False, sharex=True, sharey=True)
    panels = [axis for row in grid for axis in row]
    for axis, method in zip(panels, table.columns, strict=False):
        for other in table.columns:
            if other != method:
                sizes = [size for size in table.sizes if table.cells[size][other].cell.summary]
                means = [summary.mean for size in sizes if (summary := table.cells[size][other].cell.summary)]
                axis.plot([table.sizes.index(size) for size in sizes], means, color=FAINT, lw=0.8, zorder=1)
        _score_line(axis, table, method, looks[method], 0.0, None)
        _style(axis, table)
        axis.set_title(_label(table.columns[method]), fontsize=9, color=INK)
        axis.set_ylabel("")
    for axis in panels[len(table.columns) :]:
        axis.set_axis_off()
    for row in grid:
        row[0].set_ylabel(table.score.title, fontsize=9)
    for axis in panels[: len(table.columns) - _PER_ROW]:
        axis.set_xlabel("")
    return figure


def _style(axis: Axes, table: ScoreTable) -> None:
    _plain(axis)
    axis.set_xticks(range(len(table.sizes)), [str(size) for size in table.sizes])
    axis.set_xlim(-0.35, len(table.sizes) - 0.65)
    axis.set_xlabel("Training scans m", fontsize=9)
    axis.set_ylabel(table.score.title, fontsize=9)


def _plain(axis: Axes) -> None:
    axis.grid(color=GRID, lw=0.8, axis="y")
    axis.set_axisbelow(True)
    axis.tick_params(length=0, labelsize=8)
    axis.spines["left"].set_visible(False)
    axis.spines["bottom"].set_color(MUTED)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5))


def _mean_curve(evidence: Evidence, method: str, size: int, metrics: Sequence[str]) -> Curve:
    runs = evidence.chosen(method, size).values()
    return tuple(_means([evidence.curves.curve(run.run_id, metrics) for run in runs if run.state == "done"]))


def _means(curves: Sequence[Curve]) -> Iterator[tuple[int, float]]:
    by_epoch: dict[int, list[float]] = {}
    for curve in curves:
        for epoch, value in curve:
            by_epoch.setdefault(epoch, []).append(value)
    # Where runs have ended, a mean over the rest would jump: the line ends with most of them.
    longest = max((len(values) for values in by_epoch.values()), default=0)
    yield from ((e, float(np.mean(v))) for e, v in sorted(by_epoch.items()) if 2 * len(v) > longest)
