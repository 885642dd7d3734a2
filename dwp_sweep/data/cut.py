"""A box out of a volume, and back into one: crops, padding and patches are all this one operation.

A box may reach beyond the volume; what lies there is filled. Knows nothing of what the voxels mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

VoxelT = TypeVar("VoxelT", bound=np.generic)


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


def centred_start(size: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int]:
    """Where a box begins that shares its middle with a volume, as MONAI's centred crop and padding do.

    Args:
        size: Voxels of the volume.
        shape: Voxels of the box, larger or smaller on each axis.
    """
    starts = [n // 2 - p // 2 if p <= n else -((p - n) // 2) for n, p in zip(size, shape, strict=True)]
    return starts[0], starts[1], starts[2]
