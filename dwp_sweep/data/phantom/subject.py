"""One subject of the phantom: its disease, and the scanner's grid, contrast, slices, bias field and noise.

Two diseases, as two sequences show them: many small lesions, or one large lesion with oedema.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dwp_sweep.data.config import PhantomConfig
from dwp_sweep.data.phantom.anatomy import (
    HEAD_MM,
    Array,
    Brain,
    Tissues,
    draw_brain,
    ellipsoid_mm,
    inside,
    smooth_field,
    tissues_at,
)

N_LESIONS = (8, 18)
LESION_MM = (4.5, 10.5)
CORE_MM = (12.0, 23.0)
OEDEMA_MM = (7.0, 18.0)


@dataclass(frozen=True)
class Sick:
    """A head with its disease, sampled at points.

    Attributes:
        tissues: Healthy tissue as the disease has displaced it.
        lesion: Share of small lesions, or of the large lesion's core.
        oedema: Share of oedema around the core; 0 in the first disease.
        texture: Unit-scale variation inside the lesion.
    """

    tissues: Tissues
    lesion: Array
    oedema: Array
    texture: Array


def many_small_lesions(
    rng: np.random.Generator, brain: Brain, points: Array, voxel_mm: float, scale: float = 1.0
) -> Sick:
    """Plaques in the white matter, most of them along the ventricles.

    Args:
        rng: Of the subject.
        brain: Its anatomy.
        points: (..., 3) in mm.
        voxel_mm: Lesions are at least about as large as a voxel, or nothing could be seen.
        scale: Factor on their size.
    """
    softness = voxel_mm / 3
    texture, ragged = smooth_field(rng, 9.0), smooth_field(rng, 7.0)
    lesion, edge = np.zeros(points.shape[:-1]), 1.2 * ragged(points)
    for centre in _plaque_sites(rng, brain, int(rng.integers(*N_LESIONS))):
        drawn_mm = LESION_MM[0] * (LESION_MM[1] / LESION_MM[0]) ** rng.random()
        radius = max(scale * drawn_mm, 1.1 * voxel_mm)
        radii = radius * rng.uniform(0.75, 1.35, size=3)
        lesion = np.maximum(lesion, inside(ellipsoid_mm(points, centre, tuple(radii)) + edge, softness))
    tissues = tissues_at(brain, points, softness)
    lesion = lesion * np.clip((tissues.white + tissues.grey) / np.maximum(tissues.brain, 1e-6), 0.0, 1.0)
    return Sick(tissues, lesion, np.zeros_like(lesion), texture(points))


def one_large_lesion(
    rng: np.random.Generator, brain: Brain, points: Array, voxel_mm: float, scale: float = 1.0
) -> Sick:
    """A core that pushes the brain aside, and oedema that follows the white matter around it.

    Arguments as for `many_small_lesions`.
    """
    softness = voxel_mm / 3
    centre = np.array(_sites(rng, brain, 1, deep_mm=0.45)[0])
    radii = scale * rng.uniform(*CORE_MM) * rng.uniform(0.8, 1.2, size=3)
    width, ragged, fingers = scale * rng.uniform(*OEDEMA_MM), smooth_field(rng, 14.0), smooth_field(rng, 20.0)
    texture = smooth_field(rng, 10.0)
    tissues = tissues_at(brain, _pulled_back(points, centre, float(radii.mean())), softness)
    distance = ellipsoid_mm(points, tuple(centre), tuple(radii)) + 2.5 * ragged(points)
    solid = np.clip((tissues.white + tissues.grey) / np.maximum(tissues.brain, 1e-6), 0.0, 1.0)
    core = inside(distance, softness) * np.clip(solid + inside(distance - 3.0, softness), 0.0, 1.0)
    reach = distance + width * np.clip(1.0 + 0.5 * fingers(points), 0.2, 2.0)
    follows = np.clip(1.4 * tissues.white + 0.35 * tissues.grey, 0.0, 1.0)
    oedema = inside(reach, 2 * softness) * follows * (1.0 - core)
    return Sick(tissues, core * tissues.brain, oedema, texture(points))


def _pulled_back(points: Array, centre: Array, radius_mm: float) -> Array:
    """Where the tissue now at `points` came from, before the growing core pushed it outward."""
    offset = points - centre
    distance = np.linalg.norm(offset, axis=-1, keepdims=True)
    push_mm = 0.3 * radius_mm * np.exp(-0.5 * (distance / (1.6 * radius_mm)) ** 2)
    return np.asarray(points - offset / np.maximum(distance, 1.0) * push_mm)


def _plaque_sites(rng: np.random.Generator, brain: Brain, n: int) -> list[tuple[float, float, float]]:
    """Sites in white matter; two of three have a ventricle within a centimetre."""
    n_near = 2 * n // 3
    near = _sites(rng, brain, n_near, deep_mm=0.55, beside_fluid=True)
    return near + _sites(rng, brain, n - n_near, deep_mm=0.8)


def _sites(
    rng: np.random.Generator, brain: Brain, n: int, deep_mm: float, beside_fluid: bool = False
) -> list[tuple[float, float, float]]:
    """White-matter points above the brain stem within a share of the head's half-widths."""
    half = np.array(HEAD_MM) / 2
    tries = rng.uniform(-deep_mm, deep_mm, size=(4000, 3)) * half
    tries = tries[(tries[:, 2] > -15.0) & (np.linalg.norm(tries / half, axis=-1) < deep_mm)]
    tries = tries[tissues_at(brain, tries, 0.5).white > 0.9]
    if beside_fluid:
        around = tries[:, None, :] + 9.0 * np.concatenate([np.eye(3), -np.eye(3)])
        tries = tries[tissues_at(brain, around, 0.5).fluid.max(axis=1) > 0.9]
    return [(float(x), float(y), float(z)) for x, y, z in tries[:n]]


KINDS = ("source", "target")
LABELS = {"lesions": {1: "lesion"}, "tumour": {1: "oedema", 2: "core"}}

SLICE_RATIO = 1.5
"""Slice distance over in-plane voxel size of the source; its slices are thicker than they are apart."""

_CONTRAST = {
    "source": {"fluid": 0.10, "grey": 0.62, "white": 0.50, "lesion": 1.00, "oedema": 0.85},
    "target": {"fluid": 1.00, "grey": 0.50, "white": 0.36, "lesion": 0.66, "oedema": 0.78},
}
_TEXTURE = {"lesions": 0.04, "tumour": 0.11}
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
    """Draw and scan subject `index`; depends on the settings but for `n_subjects`, and on the index."""
    rng = np.random.default_rng([config.seed, KINDS.index(config.kind), index])
    spacing_mm = spacing_of(config)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [-size * (n - 1) / 2 for size, n in zip(spacing_mm, config.shape, strict=True)]
    points = np.moveaxis(np.indices(config.shape), 0, -1).astype(np.float64) @ affine[:3, :3] + affine[:3, 3]
    disease = many_small_lesions if config.shows == "lesions" else one_large_lesion
    voxel_mm = float(np.mean(spacing_mm[:2]))
    sick = disease(rng, draw_brain(rng), points, voxel_mm, config.lesion_scale)
    return PhantomScan(_image(rng, sick, points, config), _labels(sick, config.shows), affine)


def spacing_of(config: PhantomConfig) -> tuple[float, float, float]:
    """Voxel size at which the head fills the shape: isotropic (target), or with thick slices (source).

    Both where `slice_ratio` says nothing else.
    """
    fit = [head / n for head, n in zip(HEAD_MM, config.shape, strict=True)]
    if config.slice_ratio is not None:
        in_plane = max(*fit[:2], fit[2] / config.slice_ratio)
        return (in_plane, in_plane, config.slice_ratio * in_plane)
    if config.kind == "target":
        return (max(fit),) * 3
    in_plane = max(fit[:2])
    return (in_plane, in_plane, max(SLICE_RATIO * in_plane, fit[2]))


def _image(rng: np.random.Generator, sick: Sick, points: Array, config: PhantomConfig) -> NDArray[np.int16]:
    signal = _signal(sick, _contrast(config), _TEXTURE[config.shows])
    ratio = config.slice_ratio
    if config.kind == "source" if ratio is None else ratio > 1:
        signal = gaussian_filter1d(signal, _SLICE_BLUR_VOXELS, axis=2)
    signal = signal * np.exp(_BIAS * smooth_field(rng, 75.0)(points))
    sigma = config.noise * rng.uniform(*_NOISE)
    real, imaginary = sigma * rng.standard_normal((2, *signal.shape))
    seen = np.hypot(signal + real, imaginary) * rng.uniform(*_GAIN)
    return np.where(sick.tissues.brain > 0.5, np.maximum(np.rint(seen), 1.0), 0.0).astype(np.int16)


def _contrast(config: PhantomConfig) -> dict[str, float]:
    """Signal of each tissue: that of the kind, or a mix of two neighbours among T2, FLAIR and inverted T2."""
    if config.contrast is None:
        return _CONTRAST[config.kind]
    target, source = _CONTRAST["target"], _CONTRAST["source"]
    ends = max(target.values()) + min(target.values())
    inverted = {tissue: ends - value for tissue, value in target.items()}
    first, second = (target, source) if config.contrast <= 0.5 else (source, inverted)
    share = 2 * config.contrast - (config.contrast > 0.5)
    return {tissue: (1 - share) * first[tissue] + share * second[tissue] for tissue in first}


def _signal(sick: Sick, shows: dict[str, float], variation: float) -> Array:
    texture = variation * sick.texture
    healthy = (
        shows["fluid"] * sick.tissues.fluid
        + shows["grey"] * sick.tissues.grey
        + shows["white"] * sick.tissues.white
    )
    ill = np.clip(sick.lesion + sick.oedema, 0.0, 1.0)
    changed = (shows["lesion"] + texture) * sick.lesion + (shows["oedema"] + 0.4 * texture) * sick.oedema
    return np.asarray(healthy * (1.0 - ill) + changed)


def _labels(sick: Sick, disease: str) -> NDArray[np.uint8]:
    brain = sick.tissues.brain > 0.5
    if disease == "lesions":
        return ((sick.lesion > 0.5) & brain).astype(np.uint8)
    ill = (sick.lesion + sick.oedema > 0.5) & brain
    return np.where(ill, np.where(sick.lesion > sick.oedema, 2, 1), 0).astype(np.uint8)
