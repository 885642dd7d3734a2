"""The phantom's scanner: grid, contrast, slice thickness, bias field, noise.

Turns a sick head into voxels and labels, as the two sequences would show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dwp_sweep.data.config import PhantomConfig
from dwp_sweep.data.phantom.anatomy import HEAD_MM, Array, draw_brain, smooth_field
from dwp_sweep.data.phantom.disease import Sick, many_small_lesions, one_large_lesion

KINDS = ("source", "target")
LABELS = {"source": {1: "lesion"}, "target": {1: "oedema", 2: "core"}}

SLICE_RATIO = 1.5
"""Slice distance over in-plane voxel size of the source; its slices are thicker than they are apart."""

_CONTRAST = {
    "source": {"fluid": 0.10, "grey": 0.62, "white": 0.50, "lesion": 1.00, "oedema": 0.85},
    "target": {"fluid": 1.00, "grey": 0.50, "white": 0.36, "lesion": 0.66, "oedema": 0.78},
}
_TEXTURE = {"source": 0.04, "target": 0.11}
_SLICE_BLUR_VOXELS = 0.7
_BIAS = 0.10
_NOISE = (0.02, 0.045)
_GAIN = (500.0, 1500.0)


@dataclass(frozen=True)
class PhantomScan:
    """One generated subject, axes right, front, top.

    Attributes:
        image: (D, H, W) int16; 0 outside the skull.
        labels: (D, H, W) uint8, values of `LABELS`.
        affine: (4, 4), voxel index to mm.
    """

    image: NDArray[np.int16]
    labels: NDArray[np.uint8]
    affine: Array


def scan_subject(config: PhantomConfig, index: int) -> PhantomScan:
    """Draw and scan subject `index`; depends on kind, shape, seed and index alone."""
    rng = np.random.default_rng([config.seed, KINDS.index(config.kind), index])
    spacing_mm = spacing_of(config)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [-size * (n - 1) / 2 for size, n in zip(spacing_mm, config.shape, strict=True)]
    points = np.moveaxis(np.indices(config.shape), 0, -1).astype(np.float64) @ affine[:3, :3] + affine[:3, 3]
    disease = many_small_lesions if config.kind == "source" else one_large_lesion
    sick = disease(rng, draw_brain(rng), points, float(np.mean(spacing_mm[:2])))
    return PhantomScan(_image(rng, sick, points, config.kind), _labels(sick, config.kind), affine)


def spacing_of(config: PhantomConfig) -> tuple[float, float, float]:
    """Voxel size at which the head fills the shape: isotropic (target), or with thick slices (source)."""
    fit = [head / n for head, n in zip(HEAD_MM, config.shape, strict=True)]
    if config.kind == "target":
        return (max(fit),) * 3
    in_plane = max(fit[:2])
    return (in_plane, in_plane, max(SLICE_RATIO * in_plane, fit[2]))


def _image(rng: np.random.Generator, sick: Sick, points: Array, kind: str) -> NDArray[np.int16]:
    signal = _signal(sick, kind)
    if kind == "source":
        signal = gaussian_filter1d(signal, _SLICE_BLUR_VOXELS, axis=2)
    signal = signal * np.exp(_BIAS * smooth_field(rng, 75.0)(points))
    sigma = rng.uniform(*_NOISE)
    real, imaginary = sigma * rng.standard_normal((2, *signal.shape))
    seen = np.hypot(signal + real, imaginary) * rng.uniform(*_GAIN)
    return np.where(sick.tissues.brain > 0.5, np.maximum(np.rint(seen), 1.0), 0.0).astype(np.int16)


def _signal(sick: Sick, kind: str) -> Array:
    shows, texture = _CONTRAST[kind], _TEXTURE[kind] * sick.texture
    healthy = (
        shows["fluid"] * sick.tissues.fluid
        + shows["grey"] * sick.tissues.grey
        + shows["white"] * sick.tissues.white
    )
    ill = np.clip(sick.lesion + sick.oedema, 0.0, 1.0)
    changed = (shows["lesion"] + texture) * sick.lesion + (shows["oedema"] + 0.4 * texture) * sick.oedema
    return np.asarray(healthy * (1.0 - ill) + changed)


def _labels(sick: Sick, kind: str) -> NDArray[np.uint8]:
    brain = sick.tissues.brain > 0.5
    if kind == "source":
        return ((sick.lesion > 0.5) & brain).astype(np.uint8)
    ill = (sick.lesion + sick.oedema > 0.5) & brain
    return np.where(ill, np.where(sick.lesion > sick.oedema, 2, 1), 0).astype(np.uint8)
