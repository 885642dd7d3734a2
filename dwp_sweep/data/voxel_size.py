"""Voxel sizes of a training set, and whether another scan's are like them.

Kept beside a trained network: where training did not resample, the network learned structures as so many
voxels, and a scan with other voxels shows it other sizes. Knows no files and no networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dwp_sweep.data.cache.entry import Case

MOST_ALIKE = 1.25
"""Voxels that are more than so many times larger or smaller along an axis are other voxels."""

VOXEL_SIZE = "spacing_mm"
"""Its name among the facts of a network."""

Spacing = tuple[float, float, float]
"""Voxel size along D, H, W, mm."""


def median_voxel_size(cases: Sequence[Case]) -> Spacing:
    """The median of prepared scans along each axis, mm; at least one scan."""
    middle = np.median([case.spacing_mm for case in cases], axis=0)
    return float(middle[0]), float(middle[1]), float(middle[2])


def stored_voxel_size(facts: Mapping[str, Any]) -> Spacing | None:
    """What a network's facts say of its training; None for networks that were made before they said it."""
    value = facts.get(VOXEL_SIZE)
    if not isinstance(value, list) or len(value) != 3:
        return None
    return float(value[0]), float(value[1]), float(value[2])


def is_unlike(scan: Spacing, trained: Spacing) -> bool:
    """Whether a scan's voxels differ by more than `MOST_ALIKE` along any axis."""
    return any(max(a / b, b / a) > MOST_ALIKE for a, b in zip(scan, trained, strict=True))
