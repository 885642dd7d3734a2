"""One picture of a data set: slices through the foreground of some cases, with the mask's outline.

For people who check their data by eye; nothing reads it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dwp_sweep.data.cache import Case

PLANES = ("sagittal", "coronal", "axial")

_TILE_INCHES = 2.2


def write_overview(cases: Sequence[Case], path_png: Path, title: str = "") -> None:
    """Draw one row a case, one column a plane, each through the slice with most foreground.

    Args:
        cases: At least one; about six fit a screen.
        path_png: File to write.
        title: Above the picture.

    Raises:
        ValueError: No cases.
    """
    if not cases:
        raise ValueError("an overview needs at least one case")
    figure = Figure(
        figsize=(_TILE_INCHES * len(PLANES), _TILE_INCHES * len(cases) + 0.5),
        layout="constrained",
        facecolor="black",
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(cases), len(PLANES), squeeze=False)
    for row, case in zip(grid, cases, strict=True):
        for axis, axes in enumerate(row):
            _draw(axes, case, axis)
        row[0].set_ylabel(case.id, color="white", fontsize=8)
    for axes, plane in zip(grid[0], PLANES, strict=True):
        axes.set_title(plane, color="white", fontsize=9)
    figure.suptitle(title, color="white", fontsize=10)
    figure.savefig(path_png, dpi=110)


def fullest_slice(mask: NDArray[np.uint8], axis: int) -> int:
    """Index along an axis of a (D, H, W) mask with most foreground; the middle where there is none."""
    others = tuple(other for other in range(3) if other != axis)
    counts = np.count_nonzero(mask, axis=others)
    return int(counts.argmax()) if counts.any() else mask.shape[axis] // 2


def _draw(axes: Axes, case: Case, axis: int) -> None:
    index = fullest_slice(case.mask, axis)
    image, mask = case.image[0].take(index, axis).T, case.mask.take(index, axis).T
    across, up = (case.spacing_mm[other] for other in range(3) if other != axis)
    low, high = np.percentile(case.image, (1, 99.8))
    image = np.where(image == 0.0, low, image)  # the background, which lies at the mean of the foreground
    axes.imshow(image, cmap="gray", origin="lower", aspect=up / across, vmin=low, vmax=high)
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors="#ff5a36", linewidths=1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("black")
