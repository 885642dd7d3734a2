"""Training images beside what augmentation makes of them: drawn before a training, to be looked at first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dwp_sweep.data.augment.augmenter import Augmentation
from dwp_sweep.data.augment.geometry import Box, read_box
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.patches import PatchConfig, PatchSampler
from dwp_sweep.data.placement import fullest_slice
from dwp_sweep.errors import figure_text
from dwp_sweep.stages.figures import INK, MUTED, TRUTH, outline, save
from dwp_sweep.training.compute import named_seed

NAME = "augmented.png"
_N_CASES, _N_DRAWS = 3, 5
_HOST = torch.device("cpu")


def augmented_figure(
    train: Sequence[Case],
    augmentation: Augmentation,
    patch: PatchConfig,
    seed: int,
    folder: Path,
    title: str,
) -> None:
    """Write a slice of some training images, as they are and as the first steps change them.

    Nothing is written where there is no augmentation.

    Args:
        train: Training images.
        augmentation: Of the training.
        patch: Likewise: with a shape the pictures are of patches.
        seed: Of the training.
        folder: Of the figures; made if missing.
        title: Above the picture.
    """
    if augmentation.config is None:
        return
    chosen = train[:_N_CASES]
    rows = [_row(case, augmentation, patch, seed, place) for place, case in enumerate(chosen)]
    figure = Figure(
        figsize=(1.7 * (1 + _N_DRAWS), 0.6 + 1.8 * len(rows)),
        dpi=100,
        layout="constrained",
        facecolor="white",
    )
    panels = figure.subplots(len(rows), 1 + _N_DRAWS, squeeze=False)
    for case, row, axes in zip(chosen, rows, panels, strict=True):
        patient = row[0][0][row[0][0] != case.background]
        low, high = np.percentile(patient, (1, 99.5)) if patient.size else (0.0, 1.0)
        for draw, ((image, mask), axis) in enumerate(zip(row, axes, strict=True)):
            # Dark where there is no patient; transposed, so that the first axis runs to the right.
            shown = np.where(image == case.background, low, image).T
            axis.imshow(shown, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower")
            outline(axis, mask.T > 0, TRUTH, 1.0)
            axis.set_xticks([])
            axis.set_yticks([])
            words = figure_text(case.id, 24) if draw == 0 else f"draw {draw}"
            axis.set_title(words, fontsize=8, color=INK if draw == 0 else MUTED)
    preset = augmentation.config.preset
    words = f"Training images of the {title}, as they are and augmented ({preset}); outline: truth"
    figure.suptitle(words, fontsize=10, color=INK)
    save(figure, folder / NAME)


def _row(
    case: Case, augmentation: Augmentation, patch: PatchConfig, seed: int, row: int
) -> list[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """The same slice of a case, or of one patch of it, as it is and after each draw."""
    augmenter = augmentation.augmenter(named_seed(seed, "augment"), _HOST)
    assert augmenter is not None, "a picture of augmentation needs some"
    box = Box((0, 0, 0), tuple(case.mask.shape))
    if patch.shape is not None:
        box = Box(tuple(PatchSampler(patch, named_seed(seed, "patches")).start(case, 0, row)), patch.shape)
    pairs = [read_box(case, box, _HOST)]
    pairs += [augmenter.augmented(case, box, step, row) for step in range(_N_DRAWS)]
    truth = pairs[0][1].numpy()
    axis = max(range(3), key=lambda axis: (-truth.shape[axis], axis))
    place = fullest_slice(truth, axis)
    return [(image[0].numpy().take(place, axis), mask.numpy().take(place, axis)) for image, mask in pairs]
