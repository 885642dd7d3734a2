"""From a volume to a mask: the logits of a network, whole or from windows, and the clean-up of the mask.

Used wherever a network predicts: validation, evaluation, predictions for people. Neighbouring windows are
blended with a Gaussian weight, largest in their middle, because a network knows least at the rim of what it
sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from torch import Tensor

from dwp_sweep.data.batches import collate
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.data.placement import centred_start
from dwp_sweep.nets.bayes_conv import redraw
from dwp_sweep.strict import StrictModel
from dwp_sweep.training.compute import ComputeConfig, autocast, resolve_device, to_device

Net = torch.nn.Module | Callable[[Tensor], Tensor]

PredictedMask = NDArray[np.bool_] | NDArray[np.uint8]
"""(D, H, W): foreground or not; with several classes their numbers, 0 for the background."""

Notify = Callable[[], None]
"""Called after each forward pass; `n_windows` says how many there are."""

WHOLE = PatchConfig()
"""Whole volumes."""

_TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a face, an edge or a corner belong to one piece."""


class PostprocessConfig(StrictModel):
    """Clean-up of masks, of each class by itself.

    Attributes:
        largest_component: Keep only the largest connected piece: for organs, never for several lesions.
        min_lesion_voxels: Drop pieces with fewer voxels of the network's grid.
        min_lesion_ml: Drop pieces of less volume, in millilitres.
    """

    largest_component: bool = False
    min_lesion_voxels: int = Field(0, ge=0)
    min_lesion_ml: float = Field(0.0, ge=0)


UNTOUCHED = PostprocessConfig()
"""Masks as the networks predict them."""


def silent() -> None:
    """The default `Notify`."""


@torch.no_grad()
def predict_case(
    net: torch.nn.Module,
    case: Case,
    compute: ComputeConfig,
    patch: PatchConfig = WHOLE,
    notify: Notify = silent,
) -> tuple[Tensor, Tensor]:
    """Logits (1, n_classes, D, H, W) in float32 and the mask (1, D, H, W) of one whole volume.

    Args:
        net: In evaluation mode.
        case: The volume.
        compute: Device and precision.
        patch: Windows for volumes that are larger; whole volumes by default.
        notify: Called after each forward pass.
    """
    device = resolve_device(compute)
    images, masks = collate([case])
    with autocast(compute, device):
        logits = logits_of(net, to_device(images, device), patch, case.background, notify)
    return logits, to_device(masks, device)


def logits_of(
    net: Net, images: Tensor, patch: PatchConfig, background: float = 0.0, notify: Notify = silent
) -> Tensor:
    """Logits of a volume.

    A volume that is no larger than the window on any axis is predicted at once, padded to the window's
    shape as its patches were in training; without a shape every volume is.

    Args:
        net: Images (1, C, D, H, W) to logits of the same size. Where it samples its weights, all windows
            of the volume see the same draw.
        images: (1, C, D, H, W), on the device of the network.
        patch: Shape and overlap of the windows.
        background: Pads volumes that are smaller than a window.
        notify: Called after each forward pass.

    Returns:
        (1, n_classes, D, H, W) float32.
    """
    size, same_draw = images.shape[2:], redraw(net)

    def window(part: Tensor) -> Tensor:
        same_draw()
        logits = net(part).float()
        notify()
        return logits

    if patch.shape is None:
        return window(images)
    if all(n <= p for n, p in zip(size, patch.shape, strict=True)):
        padded, inside = _padded(images, patch.shape, background)
        return window(padded)[inside]
    # MONAI takes seconds to import, and whole volumes never need it.
    from monai.inferers.utils import sliding_window_inference

    stitched = sliding_window_inference(
        images, patch.shape, 1, window, overlap=patch.overlap, mode="gaussian", cval=background
    )
    assert isinstance(stitched, Tensor)
    return stitched


def n_windows(size: Sequence[int], patch: PatchConfig) -> int:
    """How many forward passes `logits_of` takes for a volume of this size."""
    if patch.shape is None:
        return 1
    number = 1
    for n, p in zip(size, patch.shape, strict=True):
        step = max(1, int(p * (1 - patch.overlap)))  # as MONAI's
        number *= 1 if n <= p else -(-(n - p) // step) + 1
    return number


def clean_mask(
    mask: PredictedMask, config: PostprocessConfig, spacing_mm: tuple[float, float, float]
) -> PredictedMask:
    """The mask without what the settings drop; the mask itself where they drop nothing.

    Args:
        mask: (D, H, W), truth values; or numbers of classes, of which each is cleaned up by itself.
        config: What to drop.
        spacing_mm: Voxel size along D, H, W.
    """
    smallest = max(config.min_lesion_voxels, config.min_lesion_ml * 1000 / math.prod(spacing_mm))
    if (not config.largest_component and smallest <= 1) or not mask.any():
        return mask
    if mask.dtype == np.bool_:
        return _kept_pieces(mask, smallest, config.largest_component)
    cleaned = np.zeros_like(mask)
    for number in np.unique(mask[mask > 0]):
        cleaned[_kept_pieces(mask == number, smallest, config.largest_component)] = number
    return cleaned


def _kept_pieces(mask: NDArray[Any], smallest: float, only_largest: bool) -> NDArray[np.bool_]:
    pieces, _ = ndimage.label(mask, structure=_TOUCHING)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    # A volume in ml is hardly ever whole voxels: rounding must not drop a piece of just that size.
    kept = sizes >= max(1.0, smallest - 1e-6)
    if only_largest:
        kept &= np.arange(len(sizes)) == sizes.argmax()
    return np.asarray(kept[pieces])


def _padded(
    images: Tensor, shape: Sequence[int], background: float
) -> tuple[Tensor, tuple[slice | EllipsisType, ...]]:
    size = images.shape[2:]
    before = [-first for first in centred_start(size, shape)]
    sides: list[int] = []
    for n, p, first in reversed(list(zip(size, shape, before, strict=True))):
        sides += [first, p - n - first]
    inside = (slice(first, first + n) for first, n in zip(before, size, strict=True))
    return F.pad(images, sides, value=background), (..., *inside)
