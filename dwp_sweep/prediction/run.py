"""Jobs carried out one after another: read, segment, write masks and pictures, each whole or not at all.

Top of the package: joins the network, the names and the scans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwp_sweep.atomic_write import place_beside
from dwp_sweep.data.files.volumes import write_volume
from dwp_sweep.errors import InputError, Problem, figure_text
from dwp_sweep.prediction.jobs import PredictionJob
from dwp_sweep.prediction.request import Ready, read_channels
from dwp_sweep.prediction.segment import Segmentation, segment
from dwp_sweep.prediction.trained import Trained
from dwp_sweep.stages.figures import (
    GRID,
    INK,
    MUTED,
    PREDICTION,
    black_background,
    fullest_slices,
    outline,
    save,
)

Progress = Callable[[str, int, int], None]
"""Receives (scan, forward passes done, in all)."""


class Done(NamedTuple):
    """A job and what came out of it."""

    job: PredictionJob
    segmentation: Segmentation


class Failed(NamedTuple):
    """A job whose scan cannot be used, one of several."""

    job: PredictionJob
    problems: tuple[Problem, ...]


def run_jobs(ready: Ready, progress: Progress | None = None) -> Iterator[Done | Failed]:
    """Segment scans; every output is written as soon as its scan is done.

    A scan whose voxels cannot be used does not keep the others from being segmented.

    Args:
        ready: From `make_ready`.
        progress: Told about every forward pass.

    Raises:
        InputError: The only scan's voxels cannot be used.
    """
    n = len(ready.scans)
    for number, (job, channels) in enumerate(ready.scans.items(), start=1):
        name = job.name if n == 1 else f"{number} of {n}: {job.name}"
        result: Done | Failed
        try:
            passes = partial(progress, name) if progress is not None else None
            segmentation = segment(read_channels(channels), ready.trained, passes)
            write(segmentation, job, ready.trained)
            result = Done(job, segmentation)
        except InputError as error:
            if n == 1:
                raise
            result = Failed(job, error.problems)
        yield result


def write(segmentation: Segmentation, job: PredictionJob, trained: Trained) -> None:
    """Write the outputs that a job asks for: all beside their places first, then all renamed."""
    written: list[tuple[Path, Path]] = []
    with ExitStack() as stack:
        for kind, path in job.outputs.given.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = stack.enter_context(place_beside(path))
            _write_one(kind, segmentation, beside, f"{job.name}: {trained.title}", trained)
            written.append((beside, path))
        for beside, path in written:
            beside.replace(path)


def _write_one(kind: str, segmentation: Segmentation, path: Path, title: str, trained: Trained) -> None:
    if kind == "picture":
        draw(segmentation, path, title, trained.dataset.preprocess.orientation)
        return
    voxels: dict[str, np.ndarray] = {
        "mask": segmentation.mask,
        "probability": segmentation.probability,
        "uncertainty": segmentation.uncertainty,
    }
    place = segmentation.affine if segmentation.forms is None else segmentation.forms
    write_volume(path, voxels[kind], place)


_PLANES = {"L": "Sagittal", "R": "Sagittal", "P": "Coronal", "A": "Coronal", "I": "Axial", "S": "Axial"}
_UNSURE = LinearSegmentedColormap.from_list("unsure", ["#ffffff", "#d7a8cd", "#7a1760", "#2b0722"])


def draw(segmentation: Segmentation, path: Path, title: str, orientation: str = "RAS") -> None:
    """Three planes through the most foreground: scan with outline above, predictive entropy below.

    Args:
        segmentation: The prediction.
        path: PNG to write.
        title: Line above the picture.
        orientation: Where the axes of the network's input point.
    """
    volume, low, high = black_background(np.asarray(segmentation.case.image[0], dtype=np.float32))
    mask, most_nats = segmentation.case.mask, math.log(1 + (len(segmentation.classes) or 1))
    centre = fullest_slices(mask)
    figure = Figure(figsize=(9, 6.6), dpi=120, layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 3)
    for axis, (scan, unsure) in enumerate(zip(above, below, strict=True)):
        index = centre[axis]
        wide, tall = (segmentation.case.spacing_mm[other] for other in range(3) if other != axis)
        look = {"origin": "lower", "interpolation": "nearest", "aspect": tall / wide}
        scan.imshow(np.take(volume, index, axis=axis).T, cmap="gray", vmin=low, vmax=high, **look)
        outline(scan, np.take(mask, index, axis=axis).T, PREDICTION, 1.4)
        scan.set_title(f"{_PLANES[orientation[axis]]}, slice {index}", fontsize=9, color=MUTED)
        entropy = np.take(segmentation.entropy, index, axis=axis).T
        shown = unsure.imshow(entropy, cmap=_UNSURE, vmin=0, vmax=most_nats, **look)
        outline(unsure, np.take(mask, index, axis=axis).T, PREDICTION, 0.8)
        scan.set_axis_off()
        unsure.set_xticks([])
        unsure.set_yticks([])
        unsure.spines[:].set_color(GRID)
    bar = figure.colorbar(shown, ax=list(below), location="bottom", fraction=0.05, aspect=50)
    bar.set_label("Predictive entropy, nats", fontsize=9, color=MUTED)
    bar.ax.tick_params(colors=MUTED, labelsize=8)
    figure.suptitle(figure_text(title, 100), fontsize=11, color=INK)
    names = f" (edges of {', '.join(segmentation.class_names)})" if segmentation.classes else ""
    label = f"Prediction{names}" if mask.any() else "Prediction: no foreground"
    lines = [Line2D([], [], color=PREDICTION, lw=2)]
    figure.legend(lines, [label], loc="outside lower center", frameon=False, fontsize=9)
    save(figure, path)
