"""The segmentation loss of all methods: soft Dice and cross-entropy, mixed image by image.

Also the pseudo-likelihood of the deep weight prior; ``dice_weight: 0, ce_weight: 1, ce_reduction: sum`` is
the exact one. Source: Section 2.6 of the paper. With several classes, Dice is the mean over the classes
without the background, each against all the rest, and the cross-entropy is of the softmax over all of them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from dwp_sweep.strict import StrictModel

SMOOTHING = 1e-3


class LossConfig(StrictModel):
    """Weights of the two parts.

    Attributes:
        dice_weight: Of one minus soft Dice.
        ce_weight: Of the cross-entropy.
        ce_reduction: ``mean`` over the voxels of an image (the paper's formula sums; over millions of
            voxels the sum drowns the Dice part, against the paper's text), or ``sum`` over those of the whole
            volume: of a patch, its sum times the number of such patches in the volume.
    """

    dice_weight: float = Field(default=0.99, ge=0)
    ce_weight: float = Field(default=0.01, ge=0)
    ce_reduction: Literal["mean", "sum"] = "mean"

    def model_post_init(self, context: object) -> None:
        """Refuse a loss that is always zero."""
        if self.dice_weight == self.ce_weight == 0:
            raise ValueError("dice_weight and ce_weight cannot both be 0")


class LossTerms(NamedTuple):
    """Means over the images of a batch, scalars.

    Attributes:
        loss: The mixture; with its graph.
        dice: One minus soft Dice, unweighted.
        cross_entropy: Unweighted.
    """

    loss: Tensor
    dice: Tensor
    cross_entropy: Tensor


def segmentation_loss(
    logits: Tensor, mask: Tensor, config: LossConfig, n_patches: Tensor | None = None
) -> LossTerms:
    """Loss of a batch: the mean over its images of each image's own loss.

    Args:
        logits: ``(B, n_classes, D, H, W)``, background first.
        mask: ``(B, D, H, W)``, integers. With two classes all above 0 is foreground, with more the numbers of
            classes, below ``n_classes``.
        config: Weights.
        n_patches: How many patches of this size each image's whole volume is, ``(B,)``; None: the images are
            whole volumes.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if logits.dim() != 5 or logits.shape[1] < 2 or mask.shape != logits[:, 0].shape:
        shapes = f"{tuple(logits.shape)} and {tuple(mask.shape)}"
        raise ValueError(f"need logits (B, 2 or more, D, H, W) and a mask (B, D, H, W), not {shapes}")
    by_image, voxels = _two_classes(logits, mask) if logits.shape[1] == 2 else _several(logits, mask)
    dice, cross_entropy = by_image.mean(), _reduced(voxels, config.ce_reduction, n_patches).mean()
    return LossTerms(config.dice_weight * dice + config.ce_weight * cross_entropy, dice, cross_entropy)


def soft_dice_loss(probs: Tensor, truth: Tensor) -> Tensor:
    """One minus soft Dice of each image, ``(B, voxels)`` to ``(B,)``; 0 where both are empty."""
    overlap = 2 * (probs * truth).sum(dim=1)
    total = probs.sum(dim=1) + truth.sum(dim=1)
    return 1 - (overlap + SMOOTHING) / (total + SMOOTHING)


def _two_classes(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Dice loss of each image ``(B,)`` and cross-entropy of each voxel ``(B, voxels)``."""
    # Softmax over two channels is a sigmoid of their difference: one volume instead of two.
    margin = (logits[:, 1] - logits[:, 0]).flatten(1).float()
    truth = (mask > 0).flatten(1).to(margin.dtype)
    dice = soft_dice_loss(margin.sigmoid(), truth)
    return dice, F.binary_cross_entropy_with_logits(margin, truth, reduction="none")


def _several(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same for more classes."""
    flat, truth = logits.flatten(2).float(), mask.flatten(1).long()
    log_probs = flat.log_softmax(dim=1)  # (B, n_classes, voxels)
    voxels = -log_probs.gather(1, truth[:, None]).squeeze(1)
    classes = range(1, logits.shape[1])
    # Class by class: a one-hot truth of all would be as large as the logits.
    losses = [soft_dice_loss(log_probs[:, c].exp(), (truth == c).to(flat.dtype)) for c in classes]
    return torch.stack(losses).mean(dim=0), voxels


def _reduced(voxels: Tensor, reduction: Literal["mean", "sum"], n_patches: Tensor | None) -> Tensor:
    """Cross-entropy of each image ``(B,)``."""
    if reduction == "mean":
        return voxels.mean(dim=1)
    return voxels.sum(dim=1) * (1 if n_patches is None else n_patches)
