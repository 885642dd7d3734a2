"""How scans become inputs of one network: axes, voxel size, window, whole volumes or patches, batch.

Both tasks are looked at together where kernels have to meet the same directions and values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dwp_sweep.config.initial.facts import Facts
from dwp_sweep.config.initial.machine import TrainingMachine, padded_voxels
from dwp_sweep.data.alignment import THICK
from dwp_sweep.data.check.suspicions import SPACING_RATIO_WORTH_A_WARNING
from dwp_sweep.data.patches import MULTIPLE, padded_shape

Shape = tuple[int, int, int]

_BATCH = 2
"""Of the paper."""
_SLICES_LAST = ("ASR", "RSA", "RAS")
"""Orientation that puts the axis across slices last, by that axis in RAS."""
_AXES_OF = {"RAS": (0, 1, 2), "ASR": (1, 2, 0), "RSA": (0, 2, 1)}
_DIRECTIONS = ("left-right", "front-back", "up-down")
_LEAST_WINDOW = 100
"""Hounsfield units."""


@dataclass(frozen=True)
class InputGeometry:
    """How a task's scans are prepared, with reasons.

    Attributes:
        orientation: Of the input.
        spacing_mm: To resample to; None keeps the scans' own.
        window: Of CT.
        shape: Of whole volumes; None where patches are used.
        patch: Of training; None for whole volumes.
        batch_size: Volumes or patches.
        foreground_share: Median of the scans.
    """

    orientation: str
    why_orientation: str
    spacing_mm: list[float] | None
    why_spacing: str
    window: list[float] | None
    shape: list[int] | None
    why_shape: str
    patch: Shape | None
    why_patch: str
    batch_size: int
    why_batch: str
    foreground_share: float

    @property
    def batch_voxels(self) -> int:
        """Of all volumes of a batch, as the network pads them."""
        return self.batch_size * padded_voxels(self.patch or self.shape or (1, 1, 1))


def geometry_of(tasks: Sequence[Facts], machine: TrainingMachine) -> dict[str, InputGeometry]:
    """How each task is prepared, by its key.

    Args:
        tasks: Source and target, or the target alone.
        machine: Bounds what a training step may take.
    """
    thick = {facts.key: _thick_axis(facts) for facts in tasks}
    axes = {axis for axis in thick.values() if axis is not None}
    windows = [facts.window for facts in tasks if facts.window is not None]
    window = _window(windows) if windows else None
    return {facts.key: _prepared(facts, thick[facts.key], len(axes) > 1, window, machine) for facts in tasks}


def _thick_axis(facts: Facts) -> int | None:
    sizes = np.median(np.array(facts.spacings_mm), axis=0)
    axis = int(np.argmax(sizes))
    return axis if sizes[axis] >= THICK * np.delete(sizes, axis).max() else None


def _window(windows: Sequence[tuple[float, float]]) -> list[float]:
    """One for both tasks: a Hounsfield unit then means the same to source and target network."""
    low, high = min(one[0] for one in windows), max(one[1] for one in windows)
    low, high = math.floor(low / 10) * 10, math.ceil(high / 10) * 10
    spare = max(0, _LEAST_WINDOW - (high - low)) // 2
    return [float(low - spare), float(high + spare)]


def _prepared(
    facts: Facts, thick: int | None, must_turn: bool, window: list[float] | None, machine: TrainingMachine
) -> InputGeometry:
    orientation = _SLICES_LAST[thick] if must_turn and thick is not None else "RAS"
    if thick is None:
        why = "right, front, top; no thick slices"
    elif orientation == "RAS":
        why = f"right, front, top; slices are thick {_DIRECTIONS[thick]}"
    else:
        why = f"slices last: they are thick {_DIRECTIONS[thick]}, in the other task along another axis"
    order = _AXES_OF[orientation]
    spacings = np.array(facts.spacings_mm)[:, order]
    boxes = np.array(facts.boxes)[:, order]
    spacing_mm, why_spacing = _spacing(spacings)
    if spacing_mm is not None:
        boxes = np.ceil(boxes * spacings / np.array(spacing_mm)).astype(int)
    shape, patch, batch, words = _volumes(boxes, machine)
    return InputGeometry(
        orientation=orientation,
        why_orientation=why,
        spacing_mm=spacing_mm,
        why_spacing=why_spacing,
        window=window if facts.window is not None else None,
        shape=list(shape) if shape is not None else None,
        why_shape=words[0],
        patch=patch,
        why_patch=words[1],
        batch_size=batch,
        why_batch=words[2],
        foreground_share=float(np.median([row.foreground_share for row in facts.rows])),
    )


def _spacing(spacings: np.ndarray) -> tuple[list[float] | None, str]:
    median = np.median(spacings, axis=0)
    shown = " x ".join(f"{size:.3g}" for size in median)
    if (spacings.max(axis=0) <= SPACING_RATIO_WORTH_A_WARNING * spacings.min(axis=0)).all():
        return None, f"as stored: all scans have about {shown} mm"
    worst = int(np.argmax(spacings.max(axis=0) / spacings.min(axis=0)))
    low, high = spacings[:, worst].min(), spacings[:, worst].max()
    return [float(f"{size:.3g}") for size in median], f"median; scans have {low:.3g} to {high:.3g} mm"


def _volumes(
    boxes: np.ndarray, machine: TrainingMachine
) -> tuple[Shape | None, Shape | None, int, tuple[str, str, str]]:
    """Shape or patch, batch, and the reasons of shape, patch and batch."""
    largest = padded_shape([int(n) for n in boxes.max(axis=0)])
    voxels, most = math.prod(largest), machine.most_voxels
    room = f"{machine.gpu_memory / 1e9:.0f} GB of GPU" if machine.n_gpus else "a step of seconds on CPUs"
    for batch in (_BATCH, 1):
        if batch * voxels <= most:
            why = "the paper's" if batch == _BATCH else f"two do not fit into {room}"
            return largest, None, batch, ("holds every patient, multiples of 8", "", why)
    patch = _shrunk(padded_shape([int(n) for n in np.median(boxes, axis=0)]), most // _BATCH)
    size = " x ".join(map(str, largest))
    words = (
        "scans keep their sizes: they train in patches",
        f"volumes up to {size} exceed {room}",
        "the paper's",
    )
    return None, patch, _BATCH, words


def _shrunk(shape: Shape, most: int) -> Shape:
    """The shape with its longest axis cut by 8 voxels until it has at most so many."""
    sizes = list(shape)
    while math.prod(sizes) > max(most, MULTIPLE**3):
        longest = int(np.argmax(sizes))
        sizes[longest] -= MULTIPLE
    return sizes[0], sizes[1], sizes[2]
