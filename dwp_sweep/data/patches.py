"""Patches: boxes of one shape out of volumes that are too large to train on whole.

A patch is a pure function of the seed, the step and its place in the batch, so a resumed training sees the
same ones. Stands between the cache and the batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.config import few_enough
from dwp_sweep.data.placement import centred_start, cut
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.strict import StrictModel

MULTIPLE = 8
"""Patches are a multiple of this on every axis: three halvings of the network leave nothing over."""

Shape = tuple[int, int, int]


class PatchConfig(StrictModel):
    """Training on patches, and predictions from overlapping windows of the same shape.

    Attributes:
        shape: Voxels of a patch, each a multiple of 8; None trains and predicts on whole volumes. A volume
            that is smaller on an axis is padded there with background.
        foreground_share: Probability that a patch is drawn around a foreground voxel, of a class that is
            drawn first where there are several; others lie anywhere.
        overlap: Share of a window that its neighbour covers too, on each axis, at prediction.
    """

    shape: Shape | None = None
    foreground_share: float = Field(0.5, ge=0, le=1)
    overlap: float = Field(0.5, ge=0, lt=1)

    @field_validator("shape")
    @classmethod
    def _divisible(cls, value: Shape | None) -> Shape | None:
        if value is not None and any(n < MULTIPLE or n % MULTIPLE for n in value):
            raise ValueError(f"all three numbers must be multiples of {MULTIPLE}, at least {MULTIPLE}")
        few_enough(value or ())
        return value


def padded_shape(shape: Sequence[int]) -> Shape:
    """A volume's shape rounded up to multiples of 8: the largest patch that still makes sense of it."""
    first, second, third = (-(-n // MULTIPLE) * MULTIPLE for n in shape)
    return first, second, third


def too_large(patch: PatchConfig, volumes: Sequence[Sequence[int]], key: str) -> tuple[Problem, ...]:
    """The problem with a patch that is larger than every padded volume on some axis: it would be padding.

    Args:
        patch: To check.
        volumes: Shapes of the volumes, at least one.
        key: Dotted key of the section, such as ``target.patch``.
    """
    largest = padded_shape([max(shape[axis] for shape in volumes) for axis in range(3)])
    if patch.shape is None or all(n <= most for n, most in zip(patch.shape, largest, strict=True)):
        return ()
    what = f"{list(patch.shape)} is larger than the volumes, which are at most {list(largest)} when padded"
    return (
        Problem(f"{key}.shape", what, f"take at most {list(largest)}, or leave it out for whole volumes"),
    )


def partly_padding(patch: PatchConfig, volumes: Sequence[Sequence[int]], key: str) -> tuple[Problem, ...]:
    """A warning where volumes are smaller than a patch: their patches are background in part.

    Rounding up to multiples of 8 does not count.

    Args:
        patch: To check.
        volumes: Shapes of the prepared volumes.
        key: Dotted key of the section, such as ``target.patch``.
    """
    wanted = patch.shape
    if wanted is None:
        return ()
    small = [
        shape for shape in volumes if any(n < p for n, p in zip(padded_shape(shape), wanted, strict=True))
    ]
    if not small:
        return ()
    least = [min(shape[axis] for shape in small) for axis in range(3)]
    what = (
        f"{len(small)} of {len(volumes)} volumes are smaller than the patch {list(wanted)} on some axis (the "
        f"smallest sizes are {least}), and are padded with background"
    )
    return (Problem(f"{key}.shape", what, "legal; a smaller patch trains faster on them"),)


def require_patch_fits(patch: PatchConfig, cases: Sequence[Case], key: str) -> None:
    """Refuse a patch that is larger than every padded volume.

    Raises:
        InputError: Names the key.
    """
    if cases and (problems := too_large(patch, [case.mask.shape for case in cases], key)):
        raise InputError(problems)


class PatchSampler:
    """Draws patches.

    Args:
        patch: With a shape.
        seed: Of the training.
    """

    def __init__(self, patch: PatchConfig, seed: int) -> None:
        assert patch.shape is not None, "whole volumes need no sampler"
        self.shape, self._share, self._seed = patch.shape, patch.foreground_share, seed
        self._counts: dict[str, NDArray[np.int64]] = {}

    def draw(self, case: Case, step: int, row: int) -> Case:
        """The patch of a case at one place of one step's batch; arguments as for `start`."""
        return take(case, self.start(case, step, row), self.shape)

    def start(self, case: Case, step: int, row: int) -> list[int]:
        """Where the patch of a case begins at one place of one step's batch.

        Args:
            case: Whole volume.
            step: Of the training, from 0.
            row: Place in the batch, from 0.
        """
        rng = np.random.default_rng((self._seed, step, row))
        wants_foreground = rng.random() < self._share
        inside = self._foreground_voxel(case, rng) if wants_foreground else None
        return _start(case.mask.shape, self.shape, inside, rng)

    def _foreground_voxel(self, case: Case, rng: np.random.Generator) -> tuple[int, ...] | None:
        """One of the foreground voxels, all with the same probability; None where there are none.

        With several classes one of those that the case has is drawn first, all with the same probability, so
        that a small class is seen as often as a large one.
        """
        mask = case.mask
        if case.id not in self._counts:
            self._counts[case.id] = _counts_by_slice(mask)
        counts = self._counts[case.id]
        there = np.flatnonzero(counts.any(axis=0))
        if not there.size:
            return None
        row = int(there[rng.integers(there.size)]) if there.size > 1 else int(there[0])
        ends = np.cumsum(counts[:, row])
        chosen = int(rng.integers(ends[-1]))
        index = int(np.searchsorted(ends, chosen, side="right"))
        inside = mask[index] if counts.shape[1] == 1 else mask[index] == row + 1
        voxel = np.flatnonzero(inside)[chosen - int(ends[index]) + int(counts[index, row])]
        return index, *(int(n) for n in np.unravel_index(voxel, mask.shape[1:]))


def _counts_by_slice(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Voxels of each class (n_slices, n_classes): a list of all foreground voxels would fill the memory."""
    n_classes = max(1, int(mask.max(initial=0)))
    if n_classes == 1:
        return np.array([[np.count_nonzero(part)] for part in mask], dtype=np.int64)
    counts = [np.bincount(part.ravel(), minlength=n_classes + 1)[1:] for part in mask]
    return np.array(counts, dtype=np.int64)


def take(case: Case, start: Sequence[int], shape: Shape) -> Case:
    """A box of a case as a case; background where it reaches beyond the volume."""
    # Copied: a patch of a memory map would keep the whole file in the process's memory.
    image = np.array(cut(case.image, start, shape, case.background))
    mask = np.array(cut(case.mask, start, shape, 0))
    return Case(case.id, image, mask, case.spacing_mm, case.background)


def _start(
    size: Sequence[int], shape: Shape, inside: tuple[int, ...] | None, rng: np.random.Generator
) -> list[int]:
    """Where a patch begins: anywhere in the volume, or anywhere that keeps a voxel inside the patch."""
    starts = list(centred_start(size, shape))
    for axis, (n, p) in enumerate(zip(size, shape, strict=True)):
        if p >= n:
            continue  # padded on both sides, as at prediction
        low, high = 0, n - p
        if inside is not None:
            low, high = max(low, inside[axis] - p + 1), min(high, inside[axis])
        starts[axis] = int(rng.integers(low, high + 1))
    return starts
