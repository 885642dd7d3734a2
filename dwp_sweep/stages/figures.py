"""What all figures share (colours, outlines, equal bytes), and those of a training and of a kernel prior.

Drawn with matplotlib's object interface: no global state, no display. Reports and predictions use the shared
part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dwp_sweep.data.placement import fullest_slice
from dwp_sweep.errors import figure_text

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


def fullest_slices(mask: NDArray[Any]) -> tuple[int, int, int]:
    """The slice with most foreground along each axis; the middle where there is none."""
    return fullest_slice(mask, 0), fullest_slice(mask, 1), fullest_slice(mask, 2)


def outline(axis: Axes, mask: NDArray[Any], colour: str, width: float) -> None:
    """Edges of the voxels themselves: an interpolated contour would flatter a coarse mask.

    Of a mask with the numbers of classes the edges between classes are drawn too.
    """
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


# Okabe and Ito's palette, told apart by colour-blind readers too. A colour means one thing in all panels.
_CURVES = {
    "train_loss": ("training", "#0072B2", 1.6),
    "train_data_loss": ("training", "#0072B2", 1.6),
    "train_bound": ("training", "#0072B2", 1.1),
    "val_loss": ("validation", "#D55E00", 1.6),
    "val_dice": ("Dice", "#009E73", 1.6),
    "val_iou": ("IoU", "#CC79A7", 1.6),
}
"""Metric -> label, colour and width of its curve."""

_VALIDATED = ("val_loss", "val_dice", "val_iou")

_DIVERGING = LinearSegmentedColormap.from_list("kernel", ["#0b5394", "#f7f7f7", "#b45309"]).with_extremes(
    bad="#b6bcc6"
)

_CELL = 4  # pixels of one weight in a mosaic

_LOG_RANGE = 50.0


def learning_curve(
    history: Sequence[Mapping[str, float]],
    path: Path,
    title: str,
    chosen: Sequence[int] = (),
    loss: str | None = None,
) -> None:
    """Losses above, the bound where there is one, validation overlap below; schedule and choice marked.

    Args:
        history: One mapping an epoch, as `fit` returns it: ``train_loss`` (where present its part
            ``train_data_loss`` is drawn instead: the one that validation measures too), ``val_loss``,
            ``train_bound`` (nats), ``val_dice``, ``val_iou``, ``lr``; ``cycle`` where cycles of a source
            network stand one after another.
        path: PNG to write; its folder is made.
        title: Line above the picture: which node this is.
        chosen: Epochs (from 1) whose weights were kept, one a cycle.
        loss: What the losses are, with their unit; None: "Loss", or "Data loss" beside a bound.
    """
    panels = _panels(history, loss)
    heights = [0.5 if "train_bound" in names else 1.0 for _, names in panels]
    figure = Figure(figsize=(7.2, 0.9 + 2.4 * sum(heights)), dpi=120, layout="constrained", facecolor="white")
    axes = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    for axis, (words, names) in zip(axes, panels, strict=True):
        _curves(axis, names, history)
        _mark_chosen(axis, names, history, chosen)
        _style(axis, words)
        if names and not names[0].startswith("val_"):
            _set_scale(axis, names, history)
    _mark_schedule(axes, history)
    figure.suptitle(figure_text(title, 80), fontsize=11, color=INK)
    axes[-1].set_xlabel("Epoch", fontsize=9, color=MUTED)
    save(figure, path)


def kernel_figure(kernels: Any, samples: Any, path: Path, title: str) -> None:
    """Kernels of source networks beside samples of the prior, each as its three 3x3 planes.

    Every kernel is scaled by its own largest absolute weight, so that structure shows whatever the
    scale; what the picture cannot tell, the spread of scales, stands in the captions.

    Args:
        kernels: Harvested kernels (n, 27), order D, H, W.
        samples: Drawn from the prior (n, 27).
        path: PNG to write; its folder is made.
        title: Line above the picture.
    """
    figure = Figure(figsize=(9, 5.2), dpi=120, layout="constrained", facecolor="white")
    sides = zip(
        figure.subplots(1, 2), (kernels, samples), ("Source networks", "Samples of the prior"), strict=True
    )
    for axis, side, name in sides:
        rows = np.asarray(side, dtype=np.float32).reshape(-1, 27)
        axis.imshow(_mosaic(rows), cmap=_DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
        axis.set_title(f"{name}: {len(rows)} kernels, weight std {_std(rows)}", fontsize=9, color=MUTED)
        axis.set_axis_off()
    figure.suptitle(figure_text(title, 100), fontsize=11, color=INK)
    figure.supxlabel(
        "each kernel: its planes 0, 1, 2, as shares of its own largest weight; blue below 0, orange above",
        fontsize=8,
        color=MUTED,
    )
    save(figure, path)


def _panels(history: Sequence[Mapping[str, float]], loss: str | None) -> list[tuple[str, tuple[str, ...]]]:
    """Title and metrics of each panel; the losses' panel is there even when nothing is."""
    has_data_loss = bool(_present(history, ("train_data_loss",)))
    training = "train_data_loss" if has_data_loss else "train_loss"
    words = loss or ("Data loss" if has_data_loss else "Loss")
    others = [
        ("Bound, nats over all kernels", _present(history, ("train_bound",))),
        ("Validation overlap", _present(history, ("val_dice", "val_iou"))),
    ]
    losses = (words, _present(history, (training, "val_loss")))
    return [losses, *((title, names) for title, names in others if names)]


def _present(history: Sequence[Mapping[str, float]], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if np.isfinite(_values(history, name)).any())


def _values(history: Sequence[Mapping[str, float]], name: str) -> NDArray[np.float64]:
    return np.array([epoch.get(name, np.nan) for epoch in history], dtype=np.float64)


def _curves(axis: Axes, names: tuple[str, ...], history: Sequence[Mapping[str, float]]) -> None:
    epochs = np.arange(1, len(history) + 1)
    marker = "o" if len(history) < 15 else None
    for name in names:
        label, colour, width = _CURVES[name]
        axis.plot(epochs, _values(history, name), color=colour, lw=width, marker=marker, ms=3, label=label)


def _mark_chosen(
    axis: Axes, names: tuple[str, ...], history: Sequence[Mapping[str, float]], chosen: Sequence[int]
) -> None:
    """A thin line at the epochs that were kept, a ring where it meets a curve of validation."""
    for epoch in chosen:
        axis.axvline(epoch, color=INK, lw=0.8, alpha=0.6, zorder=1.6)
    rings = [(epoch, _values(history, name)[epoch - 1]) for name in names if name in _VALIDATED
             for epoch in chosen]  # fmt: skip
    if rings:
        epochs = ", ".join(map(str, chosen)) if len(chosen) < 5 else f"of {len(chosen)} cycles"
        label = f"kept (epoch {epochs})" if len(chosen) == 1 else f"kept (epochs {epochs})"
        places, values = zip(*rings, strict=True)
        axis.plot(
            places, values, ls="", marker="o", ms=6, mfc="white", mec=INK, mew=1.4, label=label, zorder=3
        )


def _style(axis: Axes, title: str) -> None:
    axis.set_title(title, loc="left", fontsize=9, color=INK)
    axis.grid(color=GRID, lw=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(MUTED)
    axis.tick_params(colors=MUTED, labelsize=8)
    axis.ticklabel_format(useOffset=False)  # whole values, not differences from a number in the corner
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    lines, labels = axis.get_legend_handles_labels()
    if len(lines) > 1:
        # Beside the title, where no curve can run beneath it.
        axis.legend(
            lines, labels, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(lines), frameon=False,
            fontsize=8, borderaxespad=0, handlelength=1.4, columnspacing=1.2,
        )  # fmt: skip


def _set_scale(axis: Axes, names: tuple[str, ...], history: Sequence[Mapping[str, float]]) -> None:
    values = np.concatenate([_values(history, name) for name in names])
    values = values[np.isfinite(values)]
    if values.min() > 0 and values.max() > _LOG_RANGE * values.min():
        axis.set_yscale("log")


def _mark_schedule(axes: list[Axes], history: Sequence[Mapping[str, float]]) -> None:
    """Dotted where the learning rate falls, dashed where a new cycle of a source network begins."""
    for index, (before, after) in enumerate(pairwise(history), start=1):
        is_new_cycle = after.get("cycle") != before.get("cycle")
        words = [f"cycle {after.get('cycle', 0):g}"] if is_new_cycle else []
        if after.get("lr") != before.get("lr"):
            words.append(f"lr {after.get('lr', np.nan):g}")
        if not words:
            continue
        for axis in axes:
            axis.axvline(
                index + 0.5, color=INK if is_new_cycle else MUTED, lw=1.0 if is_new_cycle else 0.8,
                ls="--" if is_new_cycle else ":", zorder=1.6,
            )  # fmt: skip
        axes[0].annotate(
            ", ".join(words), (index + 0.5, 1), xycoords=("data", "axes fraction"), xytext=(2, -2),
            textcoords="offset points", fontsize=7, color=INK if is_new_cycle else MUTED, va="top",
            rotation=90,
        )  # fmt: skip


def _mosaic(kernels: NDArray[np.float32], per_row: int = 3) -> NDArray[np.float32]:
    """Kernels in rows, the three planes of each side by side; gaps are NaN."""
    plane_step, kernel_width, row_step = 3 * _CELL + 2, 3 * (3 * _CELL + 2) - 2, 3 * _CELL + 4
    n_rows = max(1, -(-len(kernels) // per_row))
    canvas = np.full((n_rows * row_step + 4, per_row * (kernel_width + 8) + 2), np.nan, dtype=np.float32)
    largest = np.maximum(np.abs(kernels).max(axis=1, keepdims=True, initial=0), 1e-12)
    for index, kernel in enumerate((kernels / largest).reshape(-1, 3, 3, 3)):
        top = 4 + row_step * (index // per_row)
        left = 5 + (kernel_width + 8) * (index % per_row)
        for plane in range(3):
            drawn = np.kron(kernel[plane], np.ones((_CELL, _CELL), dtype=np.float32))
            start = left + plane * plane_step
            canvas[top : top + 3 * _CELL, start : start + 3 * _CELL] = drawn
    return canvas


def _std(kernels: NDArray[np.float32]) -> str:
    return f"{kernels.std():.2g}" if len(kernels) else "-"
