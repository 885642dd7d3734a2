"""Linear maps along the axes of a volume, as small matrices: blur, coarser resolution, smooth fields.

A product with an (n, n) matrix costs less than a convolution or an interpolation of the volume, on a CPU and
on a GPU, and is one rule for all three.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def along_axes(values: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """Apply a matrix along each of the last three axes.

    Args:
        values: (..., D, H, W).
        matrices: (n_out, n_in) for D, H and W; None leaves an axis as it is.
    """
    for axis, matrix in zip((-3, -2, -1), matrices, strict=True):
        if matrix is not None:
            values = torch.matmul(values.movedim(axis, -1), matrix.T).movedim(-1, axis)
    return values


def blur_matrix(n: int, std: float, device: torch.device) -> Tensor | None:
    """A Gaussian of a standard deviation in voxels; at the ends its weights are those that are inside."""
    if n == 1 or std < 1e-3:
        return None
    place = torch.arange(n, dtype=torch.float64)
    weights = torch.exp(-0.5 * ((place[:, None] - place[None, :]) / std) ** 2)
    return (weights / weights.sum(1, keepdim=True)).float().to(device)


def coarse_matrix(n: int, share: float, device: torch.device) -> Tensor | None:
    """Means over fewer and larger voxels, brought back to ``n`` by linear interpolation.

    Args:
        n: Voxels along the axis.
        share: Of the voxels that are left.
        device: Where to compute.
    """
    n_left = max(1, round(n * share))
    if n_left >= n:
        return None
    unit = torch.eye(n, dtype=torch.float64)[None]
    fewer = functional.interpolate(unit, size=n_left, mode="area")
    back = functional.interpolate(fewer, size=n, mode="linear", align_corners=False)[0]
    return back.T.contiguous().float().to(device)


def spline_matrix(n: int, distance: float, device: torch.device) -> Tensor:
    """Cubic B-splines (n, number of control points) with the middle of the axis between their ends.

    Args:
        n: Voxels along the axis.
        distance: Of two control points, in voxels.
        device: Where to compute.
    """
    n_points = int((n - 1) / distance) + 4
    place = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / distance + (n_points - 1) / 2
    away = (place[:, None] - torch.arange(n_points, dtype=torch.float64)[None, :]).abs()
    near, far = 2 / 3 - away**2 + away**3 / 2, (2 - away).clamp_min(0) ** 3 / 6
    return torch.where(away < 1, near, far).float().to(device)
