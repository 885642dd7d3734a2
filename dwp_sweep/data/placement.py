"""Boxes of voxels, and where a network's input lies in the scan that it was made of.

`dwp_sweep.data.preprocess` makes a `Placement` beside each input; predictions go back through it onto the
scan's own grid. The way back is exact where nothing was resampled: then it is a turn and a crop. `cut` is
the one crop and padding of the package: of inputs, of patches and of the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dwp_sweep.data.files.forms import Affine

_SAME_VOXEL = 1e-2
"""Of a voxel: headers round, and a turn of whole volumes must still be seen as one."""

VoxelT = TypeVar("VoxelT", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Placement:
    """From voxels of the scan to voxels of the input: a turn (with resampling), the patient's box, a shape.

    Attributes:
        scan_shape: Voxels of the scan as stored.
        scan_affine: (4, 4), voxel index of the scan to mm.
        grid_shape: Voxels after turning and resampling, before any crop.
        grid_affine: (4, 4), voxel index of that grid to mm.
        box_start: Where the box around the patient begins on the grid.
        box_shape: Its voxels; all of the grid where nothing was cropped to the patient.
        start: Where the input begins in the box; negative where it was padded.
        shape: Voxels of the input.
    """

    scan_shape: tuple[int, int, int]
    scan_affine: Affine
    grid_shape: tuple[int, int, int]
    grid_affine: Affine
    box_start: tuple[int, int, int]
    box_shape: tuple[int, int, int]
    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    def to_input(self, values: NDArray[Any], fill: float) -> NDArray[Any]:
        """Crop and pad something that lies on the grid: what preparing a scan does after turning."""
        return cut(cut(values, self.box_start, self.box_shape, fill), self.start, self.shape, fill)

    @property
    def is_exact(self) -> bool:
        """Whether nothing was resampled: every voxel of the grid is one of the scan."""
        return self._turn() is not None

    def to_scan(self, values: NDArray[np.floating[Any]], fill: float) -> NDArray[np.float32]:
        """Something that lies on the input brought back onto the scan.

        Args:
            values: (D, H, W) on the input, such as a probability.
            fill: Value where the scan was cropped away.

        Returns:
            (scan_shape), float32: the same numbers where nothing was resampled, else linear interpolation.
        """
        box = cut(values, [-first for first in self.start], self.box_shape, fill)
        whole = cut(box, [-first for first in self.box_start], self.grid_shape, fill)
        grid = whole.astype(np.float32)
        turn = self._turn()
        if turn is not None:
            axes, flipped = turn
            return np.ascontiguousarray(np.flip(grid.transpose(axes), flipped))
        matrix = self._scan_to_grid()
        interpolated = ndimage.affine_transform(
            grid, matrix[:3, :3], matrix[:3, 3], output_shape=self.scan_shape, order=1, mode="nearest"
        )
        return np.asarray(interpolated, dtype=np.float32)

    def _scan_to_grid(self) -> Affine:
        return np.asarray(np.linalg.solve(self.grid_affine, self.scan_affine), dtype=np.float64)

    def _turn(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """For each axis of the scan the grid's axis, and which axes of the scan run backwards."""
        matrix = self._scan_to_grid()
        signs = np.rint(matrix[:3, :3])
        if (np.abs(signs).sum(axis=0) != 1).any() or (np.abs(signs).sum(axis=1) != 1).any():
            return None
        axes = tuple(int(np.flatnonzero(signs[:, axis])[0]) for axis in range(3))
        flipped = tuple(axis for axis in range(3) if signs[axes[axis], axis] < 0)
        exact = np.eye(4)
        exact[:3, :3] = signs
        exact[[axes[axis] for axis in flipped], 3] = [self.scan_shape[axis] - 1 for axis in flipped]
        if tuple(self.grid_shape[axis] for axis in axes) != self.scan_shape:
            return None
        farthest = np.array([*self.scan_shape, 1])
        if (np.abs(matrix - exact) @ farthest > _SAME_VOXEL)[:3].any():
            return None
        return axes, flipped


def cut(values: NDArray[VoxelT], start: Sequence[int], shape: Sequence[int], fill: float) -> NDArray[VoxelT]:
    """The box of a shape that begins at a voxel.

    Cutting with ``[-n for n in start]`` and the volume's own shape puts the box back where it was.

    Args:
        values: (..., D, H, W).
        start: First voxel on the three axes; negative before the volume begins.
        shape: Voxels of the box.
        fill: Value outside the volume.

    Returns:
        (..., *shape): a view where the box lies inside, else a new array.
    """
    inside: list[slice | EllipsisType] = [...]
    place: list[slice | EllipsisType] = [...]
    for first, wanted, size in zip(start, shape, values.shape[-3:], strict=True):
        low, high = min(max(first, 0), size), min(max(first + wanted, 0), size)
        inside.append(slice(low, high))
        place.append(slice(min(low - first, wanted), max(high - first, 0)))
    part: NDArray[Any] = values[tuple(inside)]
    if part.shape[-3:] == tuple(shape):
        return part
    box = np.full((*values.shape[:-3], *shape), fill, dtype=values.dtype)
    box[tuple(place)] = part
    return box


def no_voxels() -> NDArray[np.int32]:
    """(0, 3): a list of voxels without any."""
    return np.empty((0, 3), dtype=np.int32)


def with_lost(
    predicted: NDArray[Any], truth: NDArray[np.bool_], lost: NDArray[np.int32]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Prediction and truth on a box that also holds the foreground that a crop lost: nobody predicts it.

    Args:
        predicted: (D, H, W).
        truth: Likewise.
        lost: (N, 3), foreground voxels as indices of these masks, beyond them or where they were padded.

    Returns:
        Both masks as they are where nothing was lost.
    """
    if not len(lost):
        return predicted, truth
    start = np.minimum(lost.min(axis=0), 0)
    shape = np.maximum(lost.max(axis=0) + 1, truth.shape) - start
    whole = cut(truth, start.tolist(), shape.tolist(), False).copy()
    whole[tuple((lost - start).T)] = True
    return cut(predicted, start.tolist(), shape.tolist(), False), whole


def centred_start(size: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int]:
    """Where a box begins that shares its middle with a volume, as MONAI's centred crop and padding do.

    Args:
        size: Voxels of the volume.
        shape: Voxels of the box, larger or smaller on each axis.
    """
    starts = [n // 2 - p // 2 if p <= n else -((p - n) // 2) for n, p in zip(size, shape, strict=True)]
    return starts[0], starts[1], starts[2]


def fullest_slice(mask: NDArray[Any], axis: int) -> int:
    """Index along an axis of a (D, H, W) mask with most foreground; the middle where there is none."""
    others = tuple(other for other in range(3) if other != axis)
    counts = np.count_nonzero(mask, axis=others)
    return int(counts.argmax()) if counts.any() else mask.shape[axis] // 2
