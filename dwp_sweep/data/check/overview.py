"""One picture of a data set: slices through the foreground of some cases, with the mask's outline.

For people who check their data by eye; nothing reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.placement import fullest_slice
from dwp_sweep.data.preprocess import background_value
from dwp_sweep.errors import figure_text

PLANES = ("sagittal", "coronal", "axial")

_TILE_INCHES = 2.2
_NOTE_INCHES = 1.4
_NOTE_CHARS = 22
_PAIRS = ("RL", "AP", "SI")


def write_overview(
    cases: Sequence[Case],
    path: Path,
    title: str = "",
    notes: Mapping[str, str] | None = None,
    orientation: str = "RAS",
) -> None:
    """Draw one row a case, one column a plane, each through the slice with most foreground.

    Args:
        cases: At least one; about six fit a screen.
        path: File to write.
        title: Above the picture.
        notes: A few lines for each case by its id, beside the row.
        orientation: Of the cases' axes; they are shown as if RAS, only their first channel.

    Raises:
        ValueError: No cases.
    """
    if not cases:
        raise ValueError("an overview needs at least one case")
    shown = [_as_ras(case, orientation) for case in cases]
    widths, heights = _tile_sizes_mm(shown)
    scale = _TILE_INCHES * len(PLANES) / sum(widths)
    figure = Figure(
        figsize=(scale * sum(widths) + _NOTE_INCHES, scale * sum(heights) + 0.7),
        layout="constrained",
        facecolor="black",
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(cases), len(PLANES), squeeze=False, width_ratios=widths, height_ratios=heights)
    for row, case in zip(grid, shown, strict=True):
        for axis, axes in enumerate(row):
            _draw(axes, case, axis)
        about = (figure_text(line) for line in (notes or {}).get(case.id, "").splitlines())
        text = "\n".join([figure_text(case.id, _NOTE_CHARS, 3), *about])
        row[0].set_ylabel(text, color="white", fontsize=7, rotation=0, ha="right", va="center", labelpad=6)
    for axes, plane in zip(grid[0], PLANES, strict=True):
        axes.set_title(plane, color="white", fontsize=9)
    figure.suptitle(figure_text(title, 70), color="white", fontsize=9)
    figure.savefig(path, dpi=110)


def _as_ras(case: Case, orientation: str) -> Case:
    """The case with its axes to the right, front and top; views, no copies."""
    axes = [next(axis for axis, letter in enumerate(orientation) if letter in pair) for pair in _PAIRS]
    flips = tuple(np.s_[::-1] if orientation[axis] in "LPI" else np.s_[:] for axis in axes)
    image, mask = case.image[0].transpose(axes)[flips], case.mask.transpose(axes)[flips]
    spacing_mm = (case.spacing_mm[axes[0]], case.spacing_mm[axes[1]], case.spacing_mm[axes[2]])
    return Case(case.id, image[None], mask, spacing_mm)


def _tile_sizes_mm(cases: Sequence[Case]) -> tuple[list[float], list[float]]:
    """Width of each column and height of each row, so that what is drawn fills its tile."""
    sizes = [[n * mm for n, mm in zip(case.mask.shape, case.spacing_mm, strict=True)] for case in cases]
    widths = [max(size[1] for size in sizes), *[max(size[0] for size in sizes)] * 2]
    return widths, [max(size[1], size[2]) for size in sizes]


def _draw(axes: Axes, case: Case, axis: int) -> None:
    index = fullest_slice(case.mask, axis)
    image, mask = case.image[0].take(index, axis).T, case.mask.take(index, axis).T
    across, up = (case.spacing_mm[other] for other in range(3) if other != axis)
    low, high = np.percentile(case.image[0], (1, 99.8))
    if background_value(case.image[0]) == 0.0:
        image = np.where(image == 0.0, low, image)  # it lies at the mean of the foreground
    axes.imshow(image, cmap="gray", origin="lower", aspect=up / across, vmin=low, vmax=high)
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors="#ff5a36", linewidths=1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("black")
