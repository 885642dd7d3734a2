"""Distances between surfaces and volumes: closed forms and MONAI as the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_distance import compute_average_surface_distance
from scipy import ndimage

from dwp_sweep.metrics.physical import surface_distance

AWKWARD = (0.7, 1.3, 5.0)


def box(*sides: tuple[int, int], shape: tuple[int, int, int] = (20, 22, 18)) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[tuple(slice(*side) for side in sides)] = 1
    return mask


def ball(radius_mm: float, spacing: tuple[float, ...], n: int) -> np.ndarray:
    """In the middle of n voxels along each axis."""
    grid = (np.indices((n, n, n)).reshape(3, -1).T - (n - 1) / 2) * np.asarray(spacing)
    return (np.linalg.norm(grid, axis=1) <= radius_mm).reshape(n, n, n)


def brute_force(predicted: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    """By distance maps of the whole volume and a surface found by looking at the six neighbours."""

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask != 0, 1)
        inner = np.ones_like(padded)
        for axis in range(3):
            for step in (1, -1):
                inner &= np.roll(padded, step, axis)
        return (padded & ~inner)[1:-1, 1:-1, 1:-1]

    ours, theirs = surface(predicted), surface(truth)
    there = ndimage.distance_transform_edt(~theirs, sampling=spacing)[ours]
    back = ndimage.distance_transform_edt(~ours, sampling=spacing)[theirs]
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95), float((there.sum() + back.sum()) / (there.size + back.size))


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs, some of which touch the border of the volume."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, 14, 12, 10)), (0, 2, 2, 2))
    return smooth[0] > np.quantile(smooth[0], 0.8), smooth[1] > np.quantile(smooth[1], 0.7)


def test_a_mask_is_at_no_distance_from_itself() -> None:
    mask = box((3, 9), (4, 8), (2, 10))
    assert surface_distance(mask, mask, AWKWARD) == (0.0, 0.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("far", [7, 9])
def test_two_voxels_are_as_far_apart_as_their_centres(axis: int, far: int) -> None:
    one, other = np.zeros((12, 12, 12)), np.zeros((12, 12, 12))
    one[1, 1, 1] = 1
    other[tuple(far if other_axis == axis else 1 for other_axis in range(3))] = 1
    apart_mm = (far - 1) * AWKWARD[axis]
    assert surface_distance(one, other, AWKWARD) == pytest.approx((apart_mm, apart_mm))


def test_a_flat_slab_that_moves_along_its_normal_moves_by_that_much() -> None:
    one, other = box((4, 5), (0, 22), (0, 18)), box((9, 10), (0, 22), (0, 18))
    assert surface_distance(one, other, AWKWARD) == pytest.approx((5 * 0.7, 5 * 0.7))


def test_concentric_cubes_have_the_distances_of_their_faces_edges_and_corners() -> None:
    inner, outer = box((8, 11), (8, 11), (8, 11)), box((6, 13), (6, 13), (6, 13))
    # All 26 voxels of the inner surface are 2 from the outer one. Of the outer's 218 those over the inner
    # cube are 2 away (6 x 9), the rest farther by 1 or 2 in one or two further directions.
    distances = [2.0] * 26
    for i, j, k in np.ndindex(7, 7, 7):
        away = [max(0, 2 - n, n - 4) for n in (i, j, k)]
        if max(away) == 2:
            distances.append(math.dist(away, (0, 0, 0)))
    found = surface_distance(inner, outer, (1, 1, 1))
    assert len(distances) == 26 + 218
    assert found.asd_mm == pytest.approx(np.mean(distances))
    assert found.hd95_mm == pytest.approx(np.percentile(distances[26:], 95))


def test_concentric_balls_are_as_far_apart_as_their_radii_to_within_a_voxel() -> None:
    spacing = (0.5, 0.5, 0.5)
    small, large = (ball(radius, spacing, 41) for radius in (4.0, 7.0))
    found = surface_distance(small, large, spacing)
    assert found.asd_mm == pytest.approx(3.0, abs=0.25)
    assert found.hd95_mm == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize("seed", range(6))
def test_distances_are_those_of_distance_maps(seed: int) -> None:
    predicted, truth = random_masks(seed)
    expected = brute_force(predicted, truth, AWKWARD)
    assert surface_distance(predicted, truth, AWKWARD) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), AWKWARD])
def test_distances_are_those_of_monai(seed: int, spacing: tuple[float, float, float]) -> None:
    predicted, truth = random_masks(seed)
    ours, theirs = (torch.from_numpy(mask)[None, None].float() for mask in (predicted, truth))
    hd95 = compute_hausdorff_distance(ours, theirs, True, percentile=95, spacing=spacing)
    asd = compute_average_surface_distance(ours, theirs, True, symmetric=True, spacing=spacing)
    assert surface_distance(predicted, truth, spacing) == pytest.approx((hd95.item(), asd.item()), rel=1e-5)


def test_distances_scale_with_the_voxel_and_do_not_care_who_is_the_truth() -> None:
    predicted, truth = random_masks(9)
    once = surface_distance(predicted, truth, AWKWARD)
    twice = surface_distance(truth, predicted, (1.4, 2.6, 10.0))
    assert twice == pytest.approx((2 * once.hd95_mm, 2 * once.asd_mm))


def test_empty_masks_agree_and_a_mask_has_no_distance_to_nothing() -> None:
    empty, mask = np.zeros((20, 22, 18)), box((3, 9), (4, 8), (2, 10))
    assert surface_distance(empty, empty, AWKWARD) == (0.0, 0.0)
    for found in (surface_distance(empty, mask, AWKWARD), surface_distance(mask, empty, AWKWARD)):
        assert math.isnan(found.hd95_mm) and math.isnan(found.asd_mm)
    with pytest.raises(ValueError, match="differ in shape"):
        surface_distance(empty, mask[1:], AWKWARD)
