"""Small volumes with something to follow."""

from __future__ import annotations

import numpy as np
import torch

from dwp_sweep.data.augment.geometry import Box
from dwp_sweep.data.cache.cases import Case

CPU = torch.device("cpu")
Shape = tuple[int, int, int]


def noisy_case(
    shape: Shape = (12, 14, 10),
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    n_channels: int = 1,
    background: float = 0.0,
) -> Case:
    """Random intensities inside a margin of background, and labels 0 to 3."""
    rng = np.random.default_rng(0)
    image = np.full((n_channels, *shape), background, dtype=np.float32)
    inner = tuple(slice(1, -1) if n > 2 else slice(None) for n in shape)
    part = image[(slice(None), *inner)]
    part[...] = rng.standard_normal(part.shape)
    mask = rng.integers(0, 4, shape).astype(np.uint8)
    return Case(f"noisy {shape} {background}", image, mask, spacing_mm, background)


def ball(shape: Shape, spacing_mm: tuple[float, float, float], radius_mm: float) -> Case:
    """A ball in the middle: image and label alike."""
    places = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij"), -1)
    inside = np.linalg.norm(places * np.array(spacing_mm), axis=-1) <= radius_mm
    return Case("ball", inside[None].astype(np.float32), inside.astype(np.uint8), spacing_mm)


def whole(case: Case) -> Box:
    return Box((0, 0, 0), tuple(case.mask.shape))
