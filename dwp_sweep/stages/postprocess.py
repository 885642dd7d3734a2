"""What may be done to a finished mask: keep the largest piece, drop pieces too small to be a lesion.

Off by default: the methods are compared on what the networks say. Applied where masks are final, at
evaluation and prediction, never in training. Knows nothing of networks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from dwp_sweep.strict import StrictModel

_TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a face, an edge or a corner belong to one piece."""


class PostprocessConfig(StrictModel):
    """Clean-up of masks.

    Attributes:
        largest_component: Keep only the largest connected piece: for organs, never for several lesions.
        min_lesion_voxels: Drop pieces with fewer voxels of the network's grid.
        min_lesion_ml: Drop pieces of less volume, in millilitres.
    """

    largest_component: bool = False
    min_lesion_voxels: int = Field(0, ge=0)
    min_lesion_ml: float = Field(0.0, ge=0)


def clean_mask(
    mask: NDArray[np.bool_], config: PostprocessConfig, spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """The mask without what the settings drop; the mask itself where they drop nothing.

    Args:
        mask: (D, H, W).
        config: What to drop.
        spacing_mm: Voxel size along D, H, W.
    """
    smallest = max(config.min_lesion_voxels, config.min_lesion_ml * 1000 / math.prod(spacing_mm))
    if (not config.largest_component and smallest <= 1) or not mask.any():
        return mask
    pieces, _ = ndimage.label(mask, structure=_TOUCHING)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    # A volume in ml is hardly ever whole voxels: rounding must not drop a piece of just that size.
    kept = sizes >= max(1.0, smallest - 1e-6)
    if config.largest_component:
        kept &= np.arange(len(sizes)) == sizes.argmax()
    return np.asarray(kept[pieces])
