"""The phantom's two diseases: many small lesions, or one large lesion with oedema.

Adds disease to the drawn anatomy. Knows where tissue stands, not how a scanner shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dwp_sweep.data.phantom.anatomy import (
    HEAD_MM,
    Array,
    Brain,
    Tissues,
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


def many_small_lesions(rng: np.random.Generator, brain: Brain, points: Array, voxel_mm: float) -> Sick:
    """Plaques in the white matter, most of them along the ventricles.

    Args:
        rng: Of the subject.
        brain: Its anatomy.
        points: (..., 3) in mm.
        voxel_mm: Lesions are at least about as large as a voxel, or nothing could be seen.
    """
    softness = voxel_mm / 3
    texture, ragged = smooth_field(rng, 9.0), smooth_field(rng, 7.0)
    lesion, edge = np.zeros(points.shape[:-1]), 1.2 * ragged(points)
    for centre in _plaque_sites(rng, brain, int(rng.integers(*N_LESIONS))):
        radius = max(LESION_MM[0] * (LESION_MM[1] / LESION_MM[0]) ** rng.random(), 1.1 * voxel_mm)
        radii = radius * rng.uniform(0.75, 1.35, size=3)
        lesion = np.maximum(lesion, inside(ellipsoid_mm(points, centre, tuple(radii)) + edge, softness))
    tissues = tissues_at(brain, points, softness)
    lesion = lesion * np.clip((tissues.white + tissues.grey) / np.maximum(tissues.brain, 1e-6), 0.0, 1.0)
    return Sick(tissues, lesion, np.zeros_like(lesion), texture(points))


def one_large_lesion(rng: np.random.Generator, brain: Brain, points: Array, voxel_mm: float) -> Sick:
    """A core that pushes the brain aside, and oedema that follows the white matter around it.

    Arguments as for `many_small_lesions`.
    """
    softness = voxel_mm / 3
    centre = np.array(_sites(rng, brain, 1, deep_mm=0.45)[0])
    radii = rng.uniform(*CORE_MM) * rng.uniform(0.8, 1.2, size=3)
    width, ragged, fingers = rng.uniform(*OEDEMA_MM), smooth_field(rng, 14.0), smooth_field(rng, 20.0)
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
