"""Overlap of masks, and lesions hit and missed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.meandice import compute_dice
from monai.metrics.meaniou import compute_iou
from sklearn.metrics import f1_score, jaccard_score

from dwp_sweep.metrics.overlap import Overlap, lesion_detection, overlap
from dwp_sweep.metrics.physical import volume_error_ml, volume_ml


def random_masks(seed: int, density: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pred, truth = torch.rand(2, 6, 5, 4, generator=generator) < density
    truth[0, 0, 0] = True
    return pred, truth


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), density=st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]))
def test_scores_are_those_of_scikit_learn(seed: int, density: float) -> None:
    pred, truth = random_masks(seed, density)
    flat = truth.flatten().numpy(), pred.flatten().numpy()
    score = overlap(pred, truth)
    assert score.dice == pytest.approx(f1_score(*flat))
    assert score.iou == pytest.approx(jaccard_score(*flat))
    assert not score.empty


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_monai(seed: int) -> None:
    pred, truth = random_masks(seed, 0.3)
    score = overlap(pred, truth)
    assert score.dice == pytest.approx(compute_dice(pred[None, None], truth[None, None]).item())
    assert score.iou == pytest.approx(compute_iou(pred[None, None], truth[None, None]).item())


def test_tensors_arrays_and_label_numbers_give_the_same() -> None:
    pred, truth = random_masks(0, 0.4)
    expected = overlap(pred, truth)
    assert overlap(pred.numpy(), truth.numpy()) == expected
    assert overlap(3 * pred.to(torch.uint8), truth.long()) == expected
    assert overlap(pred.numpy().astype(np.float32), truth.numpy().astype(np.int16)) == expected


def test_two_empty_masks_score_one_and_are_flagged() -> None:
    assert overlap(torch.zeros(2, 2, 2), torch.zeros(2, 2, 2)) == Overlap(1.0, 1.0, empty=True)


def test_one_empty_mask_scores_zero() -> None:
    some, none = torch.ones(2, 2, 2), torch.zeros(2, 2, 2)
    assert overlap(some, none) == overlap(none, some) == Overlap(0.0, 0.0, empty=False)


def test_counts_beyond_float32_are_exact() -> None:
    truth = np.ones((300, 300, 300), dtype=bool)
    pred = truth.copy()
    pred[0, 0, 0] = False
    n = truth.size
    assert overlap(torch.from_numpy(pred), torch.from_numpy(truth)).iou == (n - 1) / n


def test_masks_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        overlap(torch.zeros(2, 2, 2), torch.zeros(2, 2, 1))


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
