"""The draw: from settings, seed, step and place in a batch to the changes of one image.

Numbers come from generators of their own and never from a global one, so a resumed training draws the same.
Each kind of change has its own generator: to turn noise on leaves the turns as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dwp_sweep.data.augment.config import AXES, AugmentConfig, Range, SourceAugmentConfig, array_axes

N_KNOTS = 6
"""Of the random curve that gives other contrasts."""
_SPATIAL, _FLIP, _TONE = range(3)


@dataclass(frozen=True)
class Tone:
    """Changes of one channel's intensities, in the order in which they are made.

    Attributes:
        remap: Heights of the random curve's knots between 0 and 1, `N_KNOTS` of them; None: no remapping.
        remap_share: How far intensities follow the curve.
        gamma: Exponent.
        gain: Factor of contrast.
        blur: Standard deviation in units of the smallest voxel size.
        low_resolution: Share of the finest axis' resolution that is left.
        noise: Standard deviation.
        noise_seed: Of the noise.
    """

    remap: tuple[float, ...] | None = None
    remap_share: float = 1.0
    gamma: float = 1.0
    gain: float = 1.0
    blur: float = 0.0
    low_resolution: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0


@dataclass(frozen=True)
class Changes:
    """What one image undergoes; made without any further chance.

    Attributes:
        matrix: Rows of the (3, 3) map of the image's content in mm along the array's axes, about the
            middle: a turn times a scale.
        bend: Standard deviation of the control points of an elastic deformation, in units of the smallest
            voxel size; 0: none.
        bend_distance: Distance of the control points, in the same unit.
        bend_seed: Of the control points.
        flips: Whether each axis of the array is mirrored.
        tones: One a channel.
    """

    matrix: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    bend: float = 0.0
    bend_distance: float = 12.0
    bend_seed: int = 0
    flips: tuple[bool, bool, bool] = (False, False, False)
    tones: tuple[Tone, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether voxels leave the grid, so that the image has to be interpolated."""
        return bool(self.bend) or not np.array_equal(self.matrix, np.eye(3))


def draw_changes(
    config: AugmentConfig, orientation: str, place: tuple[int, int, int], n_channels: int
) -> Changes:
    """The changes of one image.

    Args:
        config: The settings.
        orientation: Of the array's axes.
        place: Seed, step of the training and row of the batch.
        n_channels: Of the image.
    """
    axes = array_axes(orientation)
    rng = np.random.default_rng((*place, _SPATIAL))
    is_moved = rng.random() < config.spatial_probability
    matrix, bend_seed = _matrix(config, axes, rng), int(rng.integers(2**63))
    moved = Changes(
        matrix=tuple(tuple(float(value) for value in row) for row in matrix),  # type: ignore[misc]
        bend=config.elastic * config.strength,
        bend_distance=config.elastic_distance,
        bend_seed=bend_seed,
    )
    changes = moved if is_moved else Changes()
    tones = tuple(
        _tone(config, np.random.default_rng((*place, _TONE, channel))) for channel in range(n_channels)
    )
    return Changes(
        changes.matrix, changes.bend, changes.bend_distance, changes.bend_seed,
        _flips(config, axes, np.random.default_rng((*place, _FLIP))), tones,
    )  # fmt: skip


def turn(axis: int, degrees: float) -> NDArray[np.float64]:
    """The (3, 3) turn about one axis of the array: 90 degrees are ``torch.rot90`` over the two others."""
    first, second = (other for other in range(3) if other != axis)
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def _matrix(config: AugmentConfig, axes: dict[str, int], rng: np.random.Generator) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for name in AXES:
        most = min(180.0, getattr(config.rotation_deg, name) * config.strength)
        degrees = most * rng.uniform(-1, 1)
        if degrees:
            matrix = turn(axes[name], degrees) @ matrix
    return matrix * _factor(config.scale, config.strength, rng)


def _flips(config: AugmentConfig, axes: dict[str, int], rng: np.random.Generator) -> tuple[bool, bool, bool]:
    chance = config.flip_probability * min(1.0, config.strength)
    is_drawn = dict(zip(AXES, rng.random(3) < chance, strict=True))
    flipped = {axes[name] for name in config.flip if is_drawn[name]}
    return 0 in flipped, 1 in flipped, 2 in flipped


def _tone(config: AugmentConfig, rng: np.random.Generator) -> Tone:
    """One channel's; numbers are drawn in a fixed order, whether they are used or not."""
    happens, wants_curve = rng.random(5) < config.intensity_probability, rng.random()
    gamma, gain = (_factor(values, config.strength, rng) for values in (config.gamma, config.gain))
    blur, noise = (config.strength * rng.uniform(*values) for values in (config.blur, config.noise))
    low_resolution = max(0.1, _factor(config.low_resolution, config.strength, rng))
    noise_seed, curve = int(rng.integers(2**63)), tuple(map(float, rng.random(N_KNOTS)))
    remap = config.remap if isinstance(config, SourceAugmentConfig) else 0.0
    return Tone(
        remap=curve if wants_curve < remap else None,
        remap_share=min(1.0, config.strength),
        gamma=gamma if happens[0] else 1.0,
        gain=gain if happens[1] else 1.0,
        blur=blur if happens[2] else 0.0,
        low_resolution=low_resolution if happens[3] else 1.0,
        noise=noise if happens[4] else 0.0,
        noise_seed=noise_seed,
    )


def _factor(values: Range, strength: float, rng: np.random.Generator) -> float:
    """Even on the logarithmic scale, so that halving and doubling are as likely."""
    low, high = np.log(values) * strength
    return float(np.exp(rng.uniform(low, high)))
