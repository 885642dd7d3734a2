"""Turning, scaling, bending and mirroring a box of a volume, image and labels together.

Positions are in mm about the middle of the box, so that a turn keeps shapes where voxels are longer along one
axis. What a patch shows after a turn is read from the volume around it; only what lies beyond the volume is
background. Image voxels are interpolated linearly, labels take the nearest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dwp_sweep.data.augment.draw import Changes
from dwp_sweep.data.augment.separable import along_axes, spline_matrix
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.placement import cut

Voxels = NDArray[np.float64]
"""(3,) or (3, 3) numbers in voxels."""


class Box(NamedTuple):
    """Part of a volume, of one shape for all that is read of it.

    Attributes:
        start: First voxel along each axis; negative before the volume begins.
        shape: Voxels along each axis.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]


def read_box(case: Case, box: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    """A box as it is: image (C, *shape) float32 and labels (*shape); background beyond the volume."""
    # Copied: a view of a memory map would keep the whole file in the process's memory.
    image = np.array(cut(case.image, box.start, box.shape, case.background))
    mask = np.array(cut(case.mask, box.start, box.shape, 0))
    return torch.from_numpy(image).to(device), torch.from_numpy(mask).to(device)


def read_moved(case: Case, box: Box, changes: Changes, device: torch.device) -> tuple[Tensor, Tensor]:
    """A box of the volume after its content was turned, scaled and bent; shapes as for `read_box`."""
    if not changes.moves:
        return read_box(case, box, device)
    spacing = np.array(case.spacing_mm)
    inverse = np.linalg.inv(np.array(changes.matrix))
    back = inverse * spacing[None, :] / spacing[:, None]  # from a voxel of the result to one of the volume
    middle = np.array(box.start) + (np.array(box.shape) - 1) / 2
    reach = np.abs(back) @ ((np.array(box.shape) - 1) / 2) + _largest_bend(changes, spacing) + 1
    needed = _needed(middle - reach, middle + reach, case.mask.shape)
    image, mask = read_box(case, needed, device)
    grid = _affine_grid(back, middle - np.array(needed.start), box.shape, needed.shape, device)
    if changes.bend:
        # A single slice has nothing beside it to bend in from.
        size = [n if n > 1 else np.inf for n in needed.shape]
        grid = grid + _bend(changes, box.shape, spacing, size, device)
    sampled = _sampled(image - case.background, grid, "bilinear") + case.background
    return sampled, _sampled(mask[None].float(), grid, "nearest")[0].to(mask.dtype)


def mirrored(image: Tensor, mask: Tensor, flips: Sequence[bool]) -> tuple[Tensor, Tensor]:
    """Image (C, D, H, W) and labels (D, H, W) with some axes running backwards."""
    axes = [axis for axis, is_flipped in enumerate(flips) if is_flipped]
    if not axes:
        return image, mask
    return image.flip([axis + 1 for axis in axes]), mask.flip(axes)


def _sampled(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    return functional.grid_sample(values[None], grid, mode, padding_mode="zeros", align_corners=False)[0]


def _needed(low: Voxels, high: Voxels, shape: Sequence[int]) -> Box:
    """The voxels of the volume that may be asked for; at least one."""
    start = [min(max(int(np.floor(first)), 0), n - 1) for first, n in zip(low, shape, strict=True)]
    end = [
        min(max(int(np.ceil(last)) + 1, first + 1), n)
        for last, first, n in zip(high, start, shape, strict=True)
    ]
    return Box(tuple(start), tuple(last - first for last, first in zip(end, start, strict=True)))


def _affine_grid(
    back: Voxels, middle: Voxels, shape: Sequence[int], size: Sequence[int], device: torch.device
) -> Tensor:
    """Where each voxel of the result lies in a part of the volume, as `grid_sample` wants it.

    Args:
        back: Offset from the middle in the result -> the same in the volume, in voxels.
        middle: Of the result, as a place in the part.
        shape: Of the result.
        size: Of the part.
        device: Where to compute.
    """
    theta = np.empty((3, 4))
    theta[:, :3] = back * np.array(shape)[None, :] / np.array(size)[:, None]
    theta[:, 3] = (2 * middle + 1) / np.array(size) - 1
    theta[:, :3] = theta[::-1, 2::-1].copy()  # grids name the last axis first
    theta[:, 3] = theta[::-1, 3].copy()
    matrix = torch.from_numpy(theta).float().to(device)[None]
    return functional.affine_grid(matrix, [1, 1, *shape], align_corners=False)


def _bend(
    changes: Changes, shape: Sequence[int], spacing: Voxels, size: Sequence[float], device: torch.device
) -> Tensor:
    """Displacements (1, D, H, W, 3) of a smooth random field, in units of `grid_sample`."""
    finest = float(spacing.min())
    distances = [changes.bend_distance * finest / mm for mm in spacing]
    matrices = [spline_matrix(n, every, device) for n, every in zip(shape, distances, strict=True)]
    rng = np.random.default_rng(changes.bend_seed)
    # Cut off at two deviations: larger ones could fold the image.
    points = np.clip(rng.standard_normal((3, *(matrix.shape[1] for matrix in matrices))), -2, 2)
    mm = along_axes(torch.from_numpy(points).float().to(device), matrices) * (changes.bend * finest)
    unit = [2 / (length * n) for length, n in zip(spacing, size, strict=True)]
    shares = torch.stack([mm[axis] * unit[axis] for axis in (2, 1, 0)], dim=-1)
    return shares[None]


def _largest_bend(changes: Changes, spacing: Voxels) -> Voxels:
    return 2 * changes.bend * float(spacing.min()) / spacing
