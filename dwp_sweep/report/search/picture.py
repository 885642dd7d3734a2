"""What the figures of a search share: a figure that a notebook shows, colours, words, axes.

Drawn with matplotlib's object interface (no global state, no display).
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from dwp_sweep.errors import figure_text
from dwp_sweep.stages.figures import GRID, MUTED

# Okabe and Ito's palette, told apart by colour-blind readers too; black is kept for what is best.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8c6d31", "#6b4c9a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
PALE = "#a9b1be"
_DPI = 130
_UNITS = {
    "val_dice": "Validation Dice",
    "val_iou": "Validation IoU",
    "val_loss": "Validation loss",
    "wall_s": "Time (s)",
    "hours": "Time (h)",
    "gpu_hours": "GPU-hours",
    "cpu_hours": "CPU-hours",
    "n_steps": "Training steps",
}


class SearchPicture(Figure):
    """A figure that a notebook shows as it is, without pyplot."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def words_of(metric: str) -> str:
    """A metric for people, with its unit."""
    return _UNITS.get(metric, figure_text(metric, 36))


def style(axis: Axes, grid: str = "both") -> None:
    """Light grid, no box, muted numbers."""
    axis.grid(color=GRID, lw=0.8, axis=grid)  # type: ignore[arg-type]
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(MUTED)
    axis.tick_params(colors=MUTED, labelsize=8.5)


def number(value: float) -> str:
    """A number on an axis: ``0.001``, ``1e-05``, ``12``."""
    if value and not 1e-2 <= abs(value) < 1e5:
        text = f"{value:.0e}" if math.isclose(value, float(f"{value:.0e}"), rel_tol=1e-6) else f"{value:.1e}"
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.4g}"


def number_axis(axis: Axes, low: float, high: float, is_log: bool, is_whole: bool = False) -> None:
    """The horizontal axis of a number: its whole range, with ticks that can be read."""
    if is_log:
        axis.set_xscale("log")
        margin = (high / low) ** 0.04
        axis.set_xlim(low / margin, high * margin)
        if high / low >= 30:
            axis.xaxis.set_major_locator(LogLocator(numticks=5))
        else:
            axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    else:
        margin = 0.04 * (high - low) or 0.5
        axis.set_xlim(low - margin, high + margin)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=is_whole, steps=[1, 2, 5, 10]))


def value_limits(values: Sequence[float], margin: float = 0.07) -> tuple[float, float]:
    """Limits around values; the lowest tenth may be cut where it is far away from all others."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    room = margin * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def columns_of(n_panels: int, most: int = 3) -> tuple[int, int]:
    """Rows and columns of a page of panels."""
    n_columns = max(1, min(most, n_panels))
    if n_panels == 4 and most >= 3:
        n_columns = 2
    return -(-n_panels // n_columns), n_columns
