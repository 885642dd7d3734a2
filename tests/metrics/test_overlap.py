"""Dice and IoU against MONAI and scikit-learn on random masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.meandice import compute_dice
from monai.metrics.meaniou import compute_iou
from sklearn.metrics import f1_score, jaccard_score

from dwp_sweep.metrics.overlap import Overlap, overlap


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
