"""From cases to the tensors of one step.

Last step of the data side; the training loop decides which cases and when.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dwp_sweep.data.cache import Case


def collate(cases: Sequence[Case]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack cases; smaller ones are padded with background at the end of each axis.

    Args:
        cases: At least one.

    Returns:
        Images (B, 1, D, H, W) float32 and masks (B, D, H, W) int64, with D, H, W the largest of the batch.

    Raises:
        ValueError: No cases.
    """
    if not cases:
        raise ValueError("a batch needs at least one case")
    size = [max(case.mask.shape[axis] for case in cases) for axis in range(3)]
    images = torch.zeros((len(cases), 1, *size), dtype=torch.float32)
    masks = torch.zeros((len(cases), *size), dtype=torch.int64)
    for row, case in enumerate(cases):
        d, h, w = case.mask.shape
        # The copies are needed: a read-only memory map must not become a writable tensor.
        images[row, :, :d, :h, :w] = torch.from_numpy(np.array(case.image))
        masks[row, :d, :h, :w] = torch.from_numpy(np.array(case.mask, dtype=np.int64))
    return images, masks
