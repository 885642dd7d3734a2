from __future__ import annotations

import numpy as np
import pytest
import torch

from dwp_sweep.metrics.calibration import brier_score, entropy, negative_log_lik
from dwp_sweep.stages.ensembling import mean_prediction
from dwp_sweep.stages.evaluation import Prediction, predict_volume
from dwp_sweep.stages.prediction import UNTOUCHED, PostprocessConfig
from tests.stages.test_evaluation import CPU, case, network

MM = (1.0, 1.0, 1.0)
SHAPE = (6, 5, 4)


def saying(seed: int) -> Prediction:
    rng = np.random.default_rng(seed)
    probs = torch.from_numpy(rng.normal(size=(2, *SHAPE)) * 3).softmax(0).float().numpy()
    return Prediction(probs[1] > probs[0], probs)


def test_the_log_likelihood_and_brier_score_of_the_mean_are_no_worse_than_the_mean_ones() -> None:
    truth = np.random.default_rng(9).uniform(size=SHAPE) < 0.3
    for n in (2, 3, 7):
        members = [saying(seed) for seed in range(n)]
        together = mean_prediction(members, UNTOUCHED, MM)
        for score in (negative_log_lik, brier_score):
            each = [score(member.probs, truth) for member in members]
            assert score(together.probs, truth) < np.mean(each)


def test_probabilities_are_averaged_and_the_mask_is_where_their_mean_passes_a_half() -> None:
    members = [saying(seed) for seed in range(4)]
    together = mean_prediction(iter(members), UNTOUCHED, MM)
    mean = np.mean([member.probs for member in members], axis=0)
    np.testing.assert_allclose(together.probs, mean, atol=1e-6)
    np.testing.assert_array_equal(together.mask, mean[1] > 0.5)
    cleaned = mean_prediction(members, PostprocessConfig(min_lesion_voxels=60), MM)
    assert not cleaned.mask.any() and together.mask.any()
    np.testing.assert_array_equal(cleaned.probs, together.probs)


@pytest.mark.parametrize("log_var", [None, -4.0])
def test_an_ensemble_of_one_is_that_network_and_of_equal_ones_too(log_var: float | None) -> None:
    one = predict_volume(network(log_var), case(0), CPU, 3, 0)
    assert mean_prediction([one], UNTOUCHED, MM) is one
    twice = mean_prediction([one, one], UNTOUCHED, MM)
    np.testing.assert_array_equal(twice.probs, one.probs)
    np.testing.assert_array_equal(twice.mask, one.mask if log_var is None else one.draws_mask)
    assert twice.mutual_information is not None
    within = np.zeros(1) if one.mutual_information is None else one.mutual_information
    np.testing.assert_allclose(twice.mutual_information, np.broadcast_to(within, twice.mask.shape), atol=1e-6)


def test_mutual_information_is_the_entropy_of_the_mean_less_the_mean_entropy() -> None:
    sure = np.zeros((2, *SHAPE), dtype=np.float32)
    sure[1] = 1
    against = Prediction(sure[0] > sure[1], sure[::-1].copy())
    together = mean_prediction([Prediction(sure[1] > sure[0], sure), against], UNTOUCHED, MM)
    np.testing.assert_allclose(together.mutual_information, np.log(2), atol=1e-6)
    members = [saying(seed) for seed in range(3)]
    together = mean_prediction(members, UNTOUCHED, MM)
    expected = entropy(together.probs) - np.mean([entropy(member.probs) for member in members], axis=0)
    np.testing.assert_allclose(together.mutual_information, expected, atol=1e-6)


def test_no_network_predicts_nothing() -> None:
    with pytest.raises(ValueError, match="ensemble of no network"):
        mean_prediction([], UNTOUCHED, MM)
