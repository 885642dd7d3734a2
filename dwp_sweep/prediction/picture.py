"""A picture of one prediction: three planes with its outline, and where it is unsure.

Drawn on the scan as the network saw it. Knows nothing of files of scans or of the truth.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwp_sweep.prediction.segment import Segmentation
from dwp_sweep.stages.drawing import (
    GRID,
    INK,
    MUTED,
    PREDICTION,
    black_background,
    fullest_slices,
    outline,
    save,
)

_PLANES = {"L": "Sagittal", "R": "Sagittal", "P": "Coronal", "A": "Coronal", "I": "Axial", "S": "Axial"}
_UNSURE = LinearSegmentedColormap.from_list("unsure", ["#ffffff", "#d7a8cd", "#7a1760", "#2b0722"])


def draw(found: Segmentation, path: Path, title: str, orientation: str = "RAS") -> None:
    """Three planes through the most foreground: scan with outline above, predictive entropy below.

    Args:
        found: The prediction.
        path: PNG to write.
        title: Line above the picture.
        orientation: Where the axes of the network's input point.
    """
    volume, low, high = black_background(np.asarray(found.case.image[0], dtype=np.float32))
    mask = found.case.mask > 0
    centre = fullest_slices(mask)
    figure = Figure(figsize=(9, 6.6), dpi=120, layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 3)
    for axis, (scan, unsure) in enumerate(zip(above, below, strict=True)):
        index = centre[axis]
        wide, tall = (found.case.spacing_mm[other] for other in range(3) if other != axis)
        look = {"origin": "lower", "interpolation": "nearest", "aspect": tall / wide}
        scan.imshow(np.take(volume, index, axis=axis).T, cmap="gray", vmin=low, vmax=high, **look)
        outline(scan, np.take(mask, index, axis=axis).T, PREDICTION, 1.4)
        scan.set_title(f"{_PLANES[orientation[axis]]}, slice {index}", fontsize=9, color=MUTED)
        entropy = np.take(found.entropy, index, axis=axis).T
        shown = unsure.imshow(entropy, cmap=_UNSURE, vmin=0, vmax=math.log(2), **look)
        outline(unsure, np.take(mask, index, axis=axis).T, PREDICTION, 0.8)
        scan.set_axis_off()
        unsure.set_xticks([])
        unsure.set_yticks([])
        unsure.spines[:].set_color(GRID)
    bar = figure.colorbar(shown, ax=list(below), location="bottom", fraction=0.05, aspect=50)
    bar.set_label("Predictive entropy, nats", fontsize=9, color=MUTED)
    bar.ax.tick_params(colors=MUTED, labelsize=8)
    figure.suptitle(title, fontsize=11, color=INK)
    label = "Prediction" if mask.any() else "Prediction: no foreground"
    lines = [Line2D([], [], color=PREDICTION, lw=2)]
    figure.legend(lines, [label], loc="outside lower center", frameon=False, fontsize=9)
    save(figure, path)
