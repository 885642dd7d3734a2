"""Pictures of a prediction: its outline on the scan, where it is unsure, whether its probabilities hold.

The target stage writes them beside its scores.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from dwp_sweep.errors import figure_text
from dwp_sweep.metrics.calibration import Reliability, entropy
from dwp_sweep.stages.figures import (
    GRID,
    INK,
    MUTED,
    PREDICTION,
    TRUTH,
    black_background,
    fullest_slices,
    outline,
    save,
)

# White is nothing to see, so the maps read like the page; their darkest tones keep both outlines visible.
_PROBABILITY = LinearSegmentedColormap.from_list("probability", ["#ffffff", "#9db4d3", "#1f3b68"])
_UNSURE = LinearSegmentedColormap.from_list("unsure", ["#ffffff", "#d7a8cd", "#7a1760", "#2b0722"])
_BAR, _GAP = "#0072B2", "#D55E00"


def slice_figure(image: Any, truth: Any, predicted: Any, path: Path, title: str) -> None:
    """Three planes through the lesion with the outlines of truth and prediction.

    Args:
        image: Volume (D, H, W), any numbers.
        truth: Mask (D, H, W), foreground above 0; of numbers of classes the edges of each are drawn.
        predicted: Likewise.
        path: PNG to write; its folder is made.
        title: Line above the picture.
    """
    volume, low, high = black_background(np.asarray(image, dtype=np.float32))
    masks = (np.asarray(truth), np.asarray(predicted))
    centre = fullest_slices(masks[0] if masks[0].any() else masks[1])
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained", facecolor="white")
    for axis, plane, name in zip(
        figure.subplots(1, 3), range(3), ("Sagittal", "Coronal", "Axial"), strict=True
    ):
        view = np.take(volume, centre[plane], axis=plane).T
        axis.imshow(view, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest")
        # The thin line lies on the wide one, so both show where they coincide.
        for mask, colour, width in zip(masks, (TRUTH, PREDICTION), (3.0, 1.2), strict=True):
            outline(axis, np.take(mask, centre[plane], axis=plane).T, colour, width)
        axis.set_title(f"{name}, slice {centre[plane]}", fontsize=9, color=MUTED)
        axis.set_axis_off()
    figure.suptitle(figure_text(title, 100), fontsize=11, color=INK)
    names = [
        ("Truth", "Prediction")[side] + ("" if mask.any() else " (empty)") for side, mask in enumerate(masks)
    ]
    _name_outlines(figure, names)
    save(figure, path)


def uncertainty_figure(
    image: Any, truth: Any, probs: Any, mutual_information: Any | None, path: Path, title: str
) -> None:
    """One axial slice: scan with outlines, foreground probability, predictive entropy, mutual information.

    The slice with most true foreground; where there is none, the one with most predicted foreground.

    Args:
        image: Volume (D, H, W), any numbers.
        truth: Mask (D, H, W), foreground above 0 or numbers of classes.
        probs: Probability of each class, background first (n_classes, D, H, W).
        mutual_information: (D, H, W), nats; None for a deterministic network: one panel fewer.
        path: PNG to write; its folder is made.
        title: Line above the picture.
    """
    probs, n_classes = np.asarray(probs), len(probs)
    masks = (np.asarray(truth), probs[1] > probs[0] if n_classes == 2 else probs.argmax(axis=0))
    index = fullest_slices(masks[0] if masks[0].any() else masks[1])[2]
    maps = [
        ("Foreground probability", probs[1] if n_classes == 2 else 1 - probs[0], _PROBABILITY, 1.0),
        ("Predictive entropy, nats", entropy(probs), _UNSURE, math.log(n_classes)),
    ]
    if mutual_information is not None:
        information = np.asarray(mutual_information)
        # Its own range: it is a small part of the entropy, and in that range would be white.
        top = max(float(information[..., index].max()), 1e-6)
        maps.append(("Mutual information, nats", information, _UNSURE, top))
    figure = Figure(figsize=(2.9 * (1 + len(maps)), 4.1), dpi=120, layout="constrained", facecolor="white")
    # The colour bars have a row of their own, so that all panels keep one size.
    (first, *others), (empty, *bars) = figure.subplots(2, 1 + len(maps), height_ratios=[1, 0.04])
    empty.set_axis_off()
    _scan(first, np.asarray(image, dtype=np.float32), index)
    for axis, bar, (name, values, colours, top) in zip(others, bars, maps, strict=True):
        _map(axis, bar, values[..., index].T, name, colours, top)
    for axis in (first, *others):
        for mask, colour, width in zip(masks, (TRUTH, PREDICTION), (2.6, 1.2), strict=True):
            outline(axis, mask[..., index].T, colour, width)
    figure.suptitle(figure_text(title, 80), fontsize=11, color=INK)
    likeliest = "probability above 1/2" if n_classes == 2 else "likeliest class"
    names = ["Truth", f"Prediction ({likeliest})"]
    labels = [
        name + ("" if mask[..., index].any() else " (none in this slice)")
        for name, mask in zip(names, masks, strict=True)
    ]
    _name_outlines(figure, labels)
    save(figure, path)


def calibration_figure(bins: Reliability, brier: float, ece: float, path: Path, title: str) -> None:
    """Share of true foreground against the predicted probability, and how many voxels predict it.

    Args:
        bins: Voxels near the foreground of all test images, pooled.
        brier: Mean Brier score of the images, as it is reported.
        ece: Mean expected calibration error of the images, as it is reported; that of the pooled voxels,
            where the errors of images may cancel, is usually smaller.
        path: PNG to write; its folder is made.
        title: First line above the picture.
    """
    figure = Figure(figsize=(5.4, 6.6), dpi=120, layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _diagram(above, bins)
    _histogram(below, bins.counts)
    means = f"Brier score {brier:.3f}, ECE {ece:.3f}: means over test images"
    above.set_title(
        f"{means}\nECE {bins.ece:.3f}: all their voxels pooled", loc="left", fontsize=9, color=MUTED
    )
    figure.suptitle(figure_text(title, 60), fontsize=11, color=INK)
    save(figure, path)


def _name_outlines(figure: Figure, names: list[str]) -> None:
    lines = [Line2D([], [], color=colour, lw=2) for colour in (TRUTH, PREDICTION)]
    figure.legend(lines, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def _scan(axis: Axes, image: NDArray[np.float32], index: int) -> None:
    volume, low, high = black_background(image)
    axis.imshow(
        volume[..., index].T, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest"
    )
    axis.set_title(f"Axial, slice {index}", fontsize=9, color=MUTED)
    axis.set_axis_off()


def _map(axis: Axes, bar: Axes, view: Any, name: str, colours: LinearSegmentedColormap, top: float) -> None:
    axis.imshow(view, cmap=colours, vmin=0, vmax=top, origin="lower", interpolation="nearest")
    axis.set_title(name, fontsize=9, color=MUTED)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_color(GRID)
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=colours, extent=(0, 1, 0, 1), aspect="auto")
    bar.set_xticks([0, 0.5, 1], ["0", f"{top / 2:.2g}", f"{top:.2g}"])
    bar.set_yticks([])
    bar.set_xlim(-0.12, 1.12)  # so that the numbers of neighbours do not touch
    bar.spines[:].set_visible(False)
    bar.tick_params(colors=MUTED, labelsize=8, length=2)


def _diagram(axis: Axes, bins: Reliability) -> None:
    has_voxels = bins.counts > 0
    counts = bins.counts[has_voxels]
    predicted, observed = bins.probs[has_voxels] / counts, bins.foreground[has_voxels] / counts
    axis.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", label="perfect calibration")
    axis.vlines(predicted, predicted, observed, color=_GAP, lw=3, alpha=0.45, label="calibration error")
    axis.plot(predicted, observed, color=_BAR, lw=1.2, marker="o", ms=5, label="pooled test voxels")
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.set_ylabel("Share of true foreground", fontsize=9, color=MUTED)
    axis.legend(loc="upper left", frameon=False, fontsize=8)
    _style(axis)


def _histogram(axis: Axes, counts: NDArray[np.float64]) -> None:
    share, width = 100 * counts / counts.sum(), 1 / len(counts)
    axis.bar((np.arange(len(counts)) + 0.5) * width, share, width=0.9 * width, color=_BAR)
    axis.set_yscale("log")
    # From a power of ten below the smallest bar, which would have no height at the edge.
    lowest = 10 ** math.floor(math.log10(share[share > 0].min()) - 1e-9)
    axis.set(ylim=(min(lowest, 1), 100), xlim=(0, 1))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_ylabel("% of voxels", fontsize=9, color=MUTED)
    axis.set_xlabel("Foreground probability, voxels near the foreground", fontsize=9, color=MUTED)
    _style(axis)


def _style(axis: Axes) -> None:
    axis.grid(color=GRID, lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(MUTED)
    axis.tick_params(colors=MUTED, labelsize=8)
