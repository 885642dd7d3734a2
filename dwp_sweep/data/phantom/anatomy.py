"""A drawn brain: which tissue stands at a point in space.

The phantom's healthy part. Everything is a function of position in mm, so the same subject can be
sampled on any grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Array = NDArray[np.float64]

HEAD_MM = (154.0, 194.0, 150.0)
"""Field of view that holds every head, in mm: right-left, front-back, top-bottom."""

_FOLD_MM = 9.0
_REACH_MM = 150.0
_SPLINE_STD = 0.33  # of a cubic B-spline over independent unit normals, in three dimensions


@dataclass(frozen=True)
class SmoothField:
    """A random function of space with mean about 0, standard deviation about 1 and a length scale.

    Attributes:
        coefficients: (n, n, n), of a cubic B-spline on a lattice.
        scale_mm: Distance of two lattice points.
    """

    coefficients: Array
    scale_mm: float

    def __call__(self, points: Array) -> Array:
        """Values at points (..., 3) in mm."""
        where = np.moveaxis((points + _REACH_MM) / self.scale_mm, -1, 0)
        values = map_coordinates(self.coefficients, where, order=3, mode="nearest", prefilter=False)
        return np.asarray(values) / _SPLINE_STD


def smooth_field(rng: np.random.Generator, scale_mm: float) -> SmoothField:
    """Draw a `SmoothField` that covers every head."""
    n = int(np.ceil(2 * _REACH_MM / scale_mm)) + 1
    return SmoothField(rng.standard_normal((n, n, n)), scale_mm)


@dataclass(frozen=True)
class Tissues:
    """Share of each tissue at each point, 0 to 1; together they give `brain`.

    Attributes:
        fluid: Cerebrospinal fluid: sulci, fissure, ventricles.
        grey: Cortex, deep nuclei, cerebellar cortex.
        white: White matter.
    """

    fluid: Array
    grey: Array
    white: Array

    @property
    def brain(self) -> Array:
        """Everything inside the skull."""
        return self.fluid + self.grey + self.white


@dataclass(frozen=True)
class Brain:
    """One subject's anatomy.

    Attributes:
        size: Factor on the whole head.
        ventricles: Factor on the width of the ventricles.
        warp: Displacement along each axis.
        folds: Of the cortex.
    """

    size: float
    ventricles: float
    warp: tuple[SmoothField, SmoothField, SmoothField]
    folds: SmoothField


def draw_brain(rng: np.random.Generator) -> Brain:
    """A new subject."""
    return Brain(
        size=float(rng.uniform(0.9, 0.98)),
        ventricles=float(rng.uniform(0.75, 1.5)),
        warp=(smooth_field(rng, 40.0), smooth_field(rng, 40.0), smooth_field(rng, 40.0)),
        folds=smooth_field(rng, 15.0),
    )


def tissues_at(brain: Brain, points: Array, softness_mm: float) -> Tissues:
    """Tissue shares at points.

    Args:
        brain: The subject.
        points: (..., 3) in mm: right, front, top; the origin is the middle of the head.
        softness_mm: Width over which borders blur: about a third of a voxel.
    """
    warped = (points + 2.5 * np.stack([field(points) for field in brain.warp], axis=-1)) / brain.size
    folds = brain.folds(points)
    depth = _depth_mm(warped)
    skull = inside(depth, softness_mm)
    # Sulci run where the folding field changes sign; cortex lines them and the surface.
    from_sulcus = np.abs(folds) * _FOLD_MM
    sulcus = inside(1.2 - from_sulcus, softness_mm) * inside(17.0 - depth, 2.0)
    open_to_skull = np.maximum(sulcus, _fissure(warped, depth, softness_mm))
    pia = inside(depth - 3.0, softness_mm) * (1.0 - open_to_skull)
    ventricle = _ventricles(warped, brain.ventricles, softness_mm) * pia
    lined = inside(4.5 - from_sulcus, softness_mm) * inside(21.0 - depth, 2.0)
    core = inside(depth - 7.0, softness_mm) * (1.0 - lined)
    nuclei = np.maximum(_nuclei(warped, softness_mm), _cerebellar_cortex(warped, folds, softness_mm))
    matter = np.minimum(skull, pia) - ventricle
    white = matter * core * (1.0 - nuclei)
    return Tissues(fluid=skull - matter, grey=matter - white, white=white)


def inside(signed_mm: Array, softness_mm: float) -> Array:
    """1 well inside (positive distance), 0 well outside, smooth between."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(signed_mm / softness_mm, -30.0, 30.0))))


def ellipsoid_mm(
    points: Array, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> Array:
    """Approximate signed distance to an ellipsoid's surface, positive inside."""
    scaled = np.linalg.norm((points - np.array(centre)) / np.array(radii), axis=-1)
    return np.asarray((1.0 - scaled) * min(radii))


def _mirrored(points: Array) -> Array:
    """Both hemispheres folded onto the right one."""
    return np.concatenate([np.abs(points[..., :1]), points[..., 1:]], axis=-1)


def _depth_mm(points: Array) -> Array:
    """Depth below the skull: cerebrum, narrower in front and flat below, with cerebellum and brain stem."""
    x, y, z = np.moveaxis(points, -1, 0)
    narrow = 1.0 - 0.10 * np.clip(y / 85.0, -1.0, 1.0)
    height = np.where(z > 0, 66.0, 44.0 - 6.0 * np.clip(y / 85.0, -1.0, 1.0))
    radius = (np.abs(x / (68.0 * narrow)) ** 2.3 + np.abs(y / 86.0) ** 2.3 + np.abs(z / height) ** 2.3) ** (
        1 / 2.3
    )
    cerebellum = ellipsoid_mm(points, (0.0, -48.0, -40.0), (47.0, 31.0, 24.0))
    stem = np.minimum(12.0 - np.hypot(x, y + 22.0), z + 68.0)
    return np.asarray(np.maximum.reduce([(1.0 - radius) * 62.0, cerebellum, np.minimum(stem, -z)]))


def _fissure(points: Array, depth: Array, softness_mm: float) -> Array:
    """The cleft between the hemispheres: open at the surface, closed in the middle."""
    x, _, z = np.moveaxis(points, -1, 0)
    width = inside(2.2 - np.abs(x), softness_mm)
    return np.asarray(width * inside(27.0 - depth, 3.0) * inside(z + 5.0, 3.0))


def _ventricles(points: Array, width: float, softness_mm: float) -> Array:
    """Two bent horns and the third ventricle between them."""
    x, y, z = np.moveaxis(_mirrored(points), -1, 0)
    outward = x - 8.0 - 0.0035 * (y + 5.0) ** 2 * (1.0 + 0.6 * (y < -5.0))
    upward = z - 12.0 + 0.007 * (y + 5.0) ** 2
    horn = np.stack([outward, y + 6.0, upward], axis=-1)
    lateral = ellipsoid_mm(horn, (0.0, 0.0, 0.0), (6.5 * width, 40.0, 8.5 * width))
    third = ellipsoid_mm(np.stack([x, y, z], axis=-1), (0.0, -8.0, -4.0), (2.8 * width, 14.0, 12.0))
    return inside(np.maximum(lateral, third), softness_mm)


def _nuclei(points: Array, softness_mm: float) -> Array:
    """Thalamus, putamen and the head of the caudate, on both sides."""
    right = _mirrored(points)
    parts = [
        ellipsoid_mm(right, (12.0, -14.0, 0.0), (8.0, 13.0, 8.0)),
        ellipsoid_mm(right, (27.0, 4.0, 0.0), (5.5, 16.0, 10.0)),
        ellipsoid_mm(right, (14.0, 20.0, 6.0), (5.0, 8.0, 8.0)),
    ]
    return inside(np.maximum.reduce(parts), softness_mm)


def _cerebellar_cortex(points: Array, folds: Array, softness_mm: float) -> Array:
    body = ellipsoid_mm(points, (0.0, -48.0, -40.0), (47.0, 31.0, 24.0))
    marrow = ellipsoid_mm(_mirrored(points), (18.0, -44.0, -40.0), (18.0, 12.0, 8.0)) + 3.0 * folds
    return inside(body, softness_mm) * (1.0 - inside(marrow, softness_mm))
