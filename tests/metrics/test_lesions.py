from __future__ import annotations

import math

import numpy as np
import pytest

from dwp_sweep.metrics.overlap import lesion_detection
from dwp_sweep.metrics.physical import volume_error_ml, volume_ml


def mask_of(*boxes: tuple[tuple[int, int], ...], shape: tuple[int, int, int] = (20, 20, 20)) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    for box in boxes:
        mask[tuple(slice(*side) for side in box)] = 1
    return mask


FIRST, SECOND, THIRD = (((2, 5),) * 3, ((8, 11),) * 3, ((14, 18),) * 3)


def flooded(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Connected parts by walking from voxel to voxel, faces, edges and corners."""
    left = {tuple(map(int, voxel)) for voxel in np.argwhere(mask)}
    parts = []
    while left:
        part, edge = set[tuple[int, ...]](), [left.pop()]
        while edge:
            voxel = edge.pop()
            part.add(voxel)
            steps = np.ndindex(3, 3, 3)
            around = {tuple(n + step - 1 for n, step in zip(voxel, one, strict=True)) for one in steps}
            edge += around & left
            left -= around
        parts.append(part)
    return parts


def test_a_lesion_is_hit_where_one_voxel_overlaps() -> None:
    truth = mask_of(FIRST, SECOND, THIRD)
    found = lesion_detection(mask_of(((4, 7),) * 3, ((8, 11),) * 3), truth)
    assert (found.n_lesions, found.n_hit, found.n_false) == (3, 2, 0)
    assert found.sensitivity == pytest.approx(2 / 3)


def test_parts_that_touch_no_lesion_are_false_and_change_no_sensitivity() -> None:
    truth = mask_of(FIRST, SECOND)
    found = lesion_detection(mask_of(FIRST, ((6, 7),) * 3, ((14, 18), (0, 3), (0, 3))), truth)
    assert (found.n_lesions, found.n_hit, found.n_false) == (2, 1, 2)


def test_one_prediction_over_everything_hits_all_and_voxels_at_a_corner_are_one_lesion() -> None:
    truth = mask_of(FIRST, SECOND, ((5, 8),) * 3)  # the third touches both, by a corner each
    found = lesion_detection(np.ones_like(truth), truth)
    assert (found.n_lesions, found.sensitivity, found.n_false) == (1, 1.0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_walking_from_voxel_to_voxel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, truth = rng.random((2, 9, 8, 7)) < 0.08
    lesions, parts = flooded(truth), flooded(predicted)
    inside, said = (set(map(tuple, np.argwhere(mask).tolist())) for mask in (truth, predicted))
    found = lesion_detection(predicted, truth)
    assert found.n_lesions == len(lesions) > 3
    assert found.n_hit == sum(bool(lesion & said) for lesion in lesions)
    assert found.n_false == sum(not part & inside for part in parts)


def test_the_sensitivity_to_no_lesions_is_undefined_and_an_empty_prediction_hits_none() -> None:
    empty, truth = mask_of(), mask_of(FIRST, SECOND)
    assert math.isnan(lesion_detection(truth, empty).sensitivity)
    assert lesion_detection(truth, empty).n_false == 2
    assert lesion_detection(empty, truth).sensitivity == 0.0
    with pytest.raises(ValueError, match="differ in shape"):
        lesion_detection(empty, truth[1:])


def test_volumes_are_counted_in_millilitres() -> None:
    truth, predicted = mask_of(FIRST), mask_of(((0, 10),) * 3)
    assert volume_ml(predicted, (1, 1, 1)) == pytest.approx(1.0)
    assert volume_ml(predicted, (0.5, 1.0, 3.0)) == pytest.approx(1.5)
    assert volume_error_ml(truth, predicted, (1, 1, 1)) == pytest.approx(1.0 - 0.027)
    assert volume_error_ml(predicted, truth, (1, 1, 1)) == pytest.approx(1.0 - 0.027)
    assert volume_error_ml(mask_of(), mask_of(), (1, 1, 1)) == 0.0
