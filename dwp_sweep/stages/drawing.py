"""What all pictures share: colours, outlines of masks, which slice to show, files of equal bytes.

Used by the modules that draw a node's figures. Knows nothing of what they show.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dwp_sweep.data.placement import fullest_slice

INK, MUTED, GRID = "#22252b", "#6b7280", "#e5e7eb"
TRUTH, PREDICTION = "#00E0B8", "#FF8A1F"


def black_background(volume: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, float]:
    """The volume with its constant background at the dark end, and the range to show.

    Prepared scans have mean 0 in the head and 0 around it: without this the surroundings would be grey.
    """
    values, counts = np.unique(volume, return_counts=True)
    is_background = volume == values[counts.argmax()]
    if not 0.05 < is_background.mean() < 1:
        is_background = np.zeros_like(is_background)
    low, high = np.percentile(volume[~is_background], (1, 99.5))
    return np.where(is_background, low, volume), float(low), float(max(high, low + 1e-6))


def fullest_slices(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The slice with most foreground along each axis; the middle where there is none."""
    return fullest_slice(mask, 0), fullest_slice(mask, 1), fullest_slice(mask, 2)


def outline(axis: Axes, mask: NDArray[np.bool_], colour: str, width: float) -> None:
    """Edges of the voxels themselves: an interpolated contour would flatter a coarse mask."""
    padded = np.pad(mask, 1)
    edges: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for row, column in np.argwhere(padded[1:, :] != padded[:-1, :]) - 0.5:
        edges.append(((column - 1, row), (column, row)))
    for row, column in np.argwhere(padded[:, 1:] != padded[:, :-1]) - 0.5:
        edges.append(((column, row - 1), (column, row)))
    axis.add_collection(LineCollection(edges, colors=colour, linewidths=width, capstyle="round"))


def save(figure: Figure, path: Path) -> None:
    """Write a PNG; equal data give equal bytes. Its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The version stamp would make them differ between machines.
    figure.savefig(path, metadata={"Software": None})
