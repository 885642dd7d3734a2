"""From cases to the tensors of one step: whole volumes or patches, made while the step before trains.

Last step of the data side; the training loop decides which cases and when.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dwp_sweep.data.augment.augmenter import Augmenter
from dwp_sweep.data.augment.geometry import Box
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.patches import PatchConfig, PatchSampler

_Wanted = tuple[int, list[int]]
"""Step and indices of a batch."""


class Batch(NamedTuple):
    """Volumes or patches of one size, on the host; augmented ones where the augmenter made them.

    Attributes:
        images: (B, C, D, H, W) float32.
        masks: (B, D, H, W) uint8.
        n_patches: How many patches of this size each image's whole volume is (B,), float32; None: the images
            are whole volumes. Of a patch that reaches beyond its volume the voxels inside count.
    """

    images: Tensor
    masks: Tensor
    n_patches: Tensor | None = None

    def pinned(self) -> Batch:
        """The same in memory that a GPU copies from beside the host."""
        n_patches = None if self.n_patches is None else self.n_patches.pin_memory()
        return Batch(self.images.pin_memory(), self.masks.pin_memory(), n_patches)


def collate(cases: Sequence[Case]) -> tuple[Tensor, Tensor]:
    """Stack cases of one size.

    Args:
        cases: At least one.

    Returns:
        Images (B, C, D, H, W) float32 and masks (B, D, H, W) int64.

    Raises:
        ValueError: No cases, or two sizes: the networks normalise over all voxels of an image, and padding
            would change what they see.
    """
    batch = stack(cases)
    return batch.images, batch.masks.long()


def stack(cases: Sequence[Case]) -> Batch:
    """As `collate`, with masks as they are stored: an eighth of the bytes on their way to a device."""
    if not cases:
        raise ValueError("a batch needs at least one case")
    sizes = {tuple(case.mask.shape) for case in cases}
    if len(sizes) > 1:
        raise ValueError(f"a batch has volumes of one size, not of {sorted(sizes)}")
    pairs, size = [(case.image, case.mask) for case in cases], sizes.pop()
    # Written through numpy straight from the maps: no copy in between, and every voxel is written once.
    images = np.empty((len(cases), pairs[0][0].shape[0], *size), dtype=np.float32)
    masks = np.empty((len(cases), *size), dtype=np.uint8)
    for row, (image, mask) in enumerate(pairs):
        images[row], masks[row] = image, mask
    return Batch(torch.from_numpy(images), torch.from_numpy(masks))


class BatchMaker:
    """Batches of a training; the next one is made in a thread while the present one is used.

    A batch is a pure function of its step and indices: another `upcoming` batch costs time and
    never changes a batch.

    Args:
        cases: Training cases, by index.
        patch: Whole volumes unless it has a shape.
        seed: Of the patches.
        pin: Put batches into memory that a GPU copies from beside the host.
        ahead: Make the next batch beforehand.
        augmenter: Changes each image; None: images stay as they are.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        patch: PatchConfig,
        seed: int,
        pin: bool = False,
        ahead: bool = True,
        augmenter: Augmenter | None = None,
    ) -> None:
        self._cases, self._pin, self._augmenter = cases, pin, augmenter
        self._sampler = PatchSampler(patch, seed) if patch.shape is not None else None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches") if ahead else None
        self._next: _Wanted | None = None
        self._coming: tuple[_Wanted, Future[tuple[Batch, ...]]] | None = None

    def __enter__(self) -> BatchMaker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def upcoming(self, indices: Tensor, step: int) -> None:
        """Name the batch after the next one: its making begins as soon as the next one is returned.

        Args:
            indices: (B,) int64, into the cases.
            step: Of the training, from 0.
        """
        self._next = (step, indices.tolist())

    def batch(self, indices: Tensor, step: int) -> tuple[Batch, ...]:
        """The batch of a step, in parts: one for each size of its volumes, in order of their first one.

        Args:
            indices: (B,) int64, into the cases.
            step: Of the training, from 0.
        """
        wanted = (step, indices.tolist())
        coming, self._coming = self._coming, None
        is_expected = coming is not None and coming[0] == wanted
        batch = coming[1].result() if coming is not None and is_expected else self._make(*wanted)
        following, self._next = self._next, None
        if self._pool is not None and following is not None:
            self._coming = following, self._pool.submit(self._make, *following)
        return batch

    def _make(self, step: int, indices: list[int]) -> tuple[Batch, ...]:
        cases = [self._cases[index] for index in indices]
        if self._augmenter is not None:
            return self._changed(self._augmenter, cases, step)
        if self._sampler is not None:
            patches = [self._sampler.draw(case, step, row) for row, case in enumerate(cases)]
            batch = stack(patches)._replace(n_patches=_n_patches(cases, patches[0].mask.shape))
            return (batch.pinned() if self._pin else batch,)
        by_size: dict[tuple[int, ...], list[Case]] = {}
        for case in cases:
            by_size.setdefault(tuple(case.mask.shape), []).append(case)
        batches = [stack(part) for part in by_size.values()]
        return tuple(batch.pinned() if self._pin else batch for batch in batches)

    def _changed(self, augmenter: Augmenter, cases: Sequence[Case], step: int) -> tuple[Batch, ...]:
        by_size: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for row, case in enumerate(cases):
            box = Box((0, 0, 0), tuple(case.mask.shape))
            if self._sampler is not None:
                box = Box(tuple(self._sampler.start(case, step, row)), self._sampler.shape)
            by_size.setdefault(box.shape, []).append(augmenter.augmented(case, box, step, row))
        batches = [Batch(*map(torch.stack, zip(*pairs, strict=True))) for pairs in by_size.values()]
        if self._sampler is not None:
            batches = [batches[0]._replace(n_patches=_n_patches(cases, self._sampler.shape))]
        on_host = self._pin and batches[0].images.device.type == "cpu"
        return tuple(batch.pinned() if on_host else batch for batch in batches)


def _n_patches(cases: Sequence[Case], shape: Sequence[int]) -> Tensor:
    sizes = (case.mask.shape for case in cases)
    return torch.tensor(
        [math.prod(max(1.0, n / p) for n, p in zip(size, shape, strict=True)) for size in sizes]
    )
