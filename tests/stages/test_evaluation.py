from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.metrics.overlap import overlap
from dwp_sweep.nets.bayes_conv import make_bayesian, sampling, variational_layers
from dwp_sweep.nets.unet3d import UNet3D, he_init
from dwp_sweep.stages import evaluation
from dwp_sweep.stages.evaluation import Prediction, predict_volume
from dwp_sweep.stages.prediction import PostprocessConfig, clean_mask
from dwp_sweep.stages.scores import SubjectScores, summarise
from dwp_sweep.training.compute import ComputeConfig, named_generator

CPU = ComputeConfig(device="cpu")


def network(log_var: float | None) -> nn.Module:
    net = UNet3D(1, 2, (2, 4, 4, 4))
    he_init(net, torch.Generator().manual_seed(0))
    if log_var is not None:
        make_bayesian(net, log_var, generator=torch.Generator().manual_seed(5))
    return net.eval()


def case(seed: int, shape: tuple[int, int, int] = (16, 16, 16)) -> Case:
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[4:9, 5:10, 3:8] = 1
    return Case(f"s{seed}", rng.normal(size=(1, *shape)).astype(np.float32) + mask, mask)


def predictor(net: nn.Module, n_samples: int = 3, seed: int = 0) -> Callable[[Case], Prediction]:
    return lambda one: predict_volume(net, one, CPU, n_samples, seed)


def scores(**values: float) -> SubjectScores:
    plain = {
        "dice": 0.5,
        "iou": 0.3,
        "brier": 0.1,
        "ece": 0.1,
        "nll": 0.3,
        "nll_volume": 0.1,
        "entropy": 0.2,
        "expected_dice": 0.6,
    }
    return SubjectScores(**(plain | values), empty=False)  # type: ignore[arg-type]


def test_a_deterministic_network_is_run_once_and_gives_its_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    net, calls = network(None), []
    net.register_forward_hook(lambda *arguments: calls.append(1))
    prediction = predict_volume(net, case(0), CPU, 16, 0)
    with torch.no_grad():
        expected = net(torch.from_numpy(case(0).image)[None])[0].softmax(0)
    assert len(calls) == 2 and prediction.mutual_information is None
    np.testing.assert_allclose(prediction.probs, expected, rtol=1e-6)
    np.testing.assert_array_equal(prediction.mask, prediction.probs_mask)


def test_a_variational_networks_probabilities_are_the_mean_over_its_draws() -> None:
    net, one = network(-4.0), case(0)
    prediction = predict_volume(net, one, CPU, 5, 7)
    image = torch.from_numpy(one.image)[None]
    with torch.no_grad():
        with sampling(net, named_generator(7, "monte_carlo")):
            draws = torch.stack([net(image)[0].double().softmax(0) for _ in range(5)])
        mean_network = (net(image)[0].argmax(0) == 1).numpy()
    np.testing.assert_allclose(prediction.probs, draws.mean(0), atol=1e-6)
    np.testing.assert_array_equal(prediction.mask, mean_network)
    total = torch.special.entr(draws.mean(0)).sum(0)
    np.testing.assert_allclose(
        prediction.mutual_information, total - torch.special.entr(draws).sum(1).mean(0), atol=1e-6
    )


def test_mutual_information_is_never_negative_and_vanishes_with_the_weight_noise() -> None:
    quiet, noisy = (predict_volume(network(log_var), case(1), CPU, 6, 0) for log_var in (-30.0, -3.0))
    assert quiet.mutual_information is not None and noisy.mutual_information is not None
    assert quiet.mutual_information.max() < 1e-5 < noisy.mutual_information.mean()
    assert noisy.mutual_information.min() >= 0 and quiet.mutual_information.min() >= 0


def test_predictions_repeat_for_a_seed_and_do_not_depend_on_other_cases() -> None:
    net = network(-4.0)
    alone = predict_volume(net, case(2), CPU, 3, 0)
    predict_volume(net, case(3), CPU, 3, 0)
    again, other = predict_volume(net, case(2), CPU, 3, 0), predict_volume(net, case(2), CPU, 3, 1)
    np.testing.assert_array_equal(alone.probs, again.probs)
    assert np.abs(alone.probs - other.probs).max() > 1e-4


def test_sampling_leaves_layers_and_training_noise_as_they_were() -> None:
    net = network(-4.0)
    layers = variational_layers(net)
    trained = layers[0].generator
    assert trained is not None
    before = trained.get_state()
    with pytest.raises(RuntimeError, match="stop"), sampling(net, named_generator(0, "monte_carlo")):
        net(torch.zeros(1, 1, 16, 16, 16))
        raise RuntimeError("stop")
    assert len(layers) == 19
    assert all(layer.generator is trained and not layer.sampling and layer.sample is None for layer in layers)
    assert torch.equal(trained.get_state(), before)


@pytest.mark.parametrize("log_var", [None, -4.0])
def test_each_test_case_is_scored_on_its_own(log_var: float | None) -> None:
    predict, cases = predictor(network(log_var)), [case(seed) for seed in range(3)]
    forward = evaluation.test_scores(predict, cases, 2)
    backward = evaluation.test_scores(predict, cases[::-1], 2)
    assert dict(forward.scores) == dict(backward.scores)
    for one in cases:
        found = forward.scores[one.id]
        assert found.dice == overlap(predict(one).mask, one.mask).dice
        assert found.ece == forward.reliability[one.id].ece
        assert set(found.as_json()) >= {"dice", "iou", "empty", "brier", "ece", "nll", "entropy"}
        assert ("dice_mc" in found.as_json()) == ("mutual_information" in found.as_json()) == bool(log_var)


def test_the_mask_of_the_draws_is_scored_after_the_clean_up_of_the_network_s_own() -> None:
    net, cleaned = network(-4.0), PostprocessConfig(largest_component=True)
    prediction = predict_volume(net, case(0), CPU, 3, 0, postprocess=cleaned)
    largest = clean_mask(prediction.probs_mask, cleaned, case(0).spacing_mm)
    assert prediction.probs_mask.sum() > largest.sum() > 0
    found = evaluation.test_scores(lambda _: prediction, [case(0)], 2).scores["s0"]
    assert found.dice_mc == overlap(largest, case(0).mask).dice


@pytest.mark.parametrize("is_variational", [False, True])
def test_foreground_that_the_crop_lost_counts_as_missed(is_variational: bool) -> None:
    lost = np.array([[-3 - k, 0, 0] for k in range(50)], dtype=np.int32)
    whole = case(0)
    cropped = Case(whole.id, whole.image, whole.mask, (1.0, 2.0, 0.5), lost=lost)
    probs = np.stack([1.0 - whole.mask, whole.mask]).astype(np.float32) * 0.98 + 0.01
    information = np.zeros(whole.mask.shape) if is_variational else None
    perfect = Prediction(
        whole.mask == 1, probs, information, draws_mask=whole.mask == 1 if is_variational else None
    )
    found = evaluation.test_scores(lambda _: perfect, [cropped], 2).scores["s0"]

    # 5 x 5 x 5 voxels are found, 50 lie beyond the input.
    assert found.dice == pytest.approx(2 * 125 / (125 + 175)) and found.iou == pytest.approx(125 / 175)
    assert found.dice_mc == (pytest.approx(found.dice) if is_variational else None)
    assert found.physical is not None
    assert found.physical.volume_error_ml == pytest.approx(50 * 1.0 * 2.0 * 0.5 / 1000)
    assert found.physical.n_lesions == 2 and found.physical.lesion_sensitivity == 0.5
    plain = evaluation.test_scores(lambda _: perfect, [whole], 2).scores["s0"]
    assert plain.dice == 1.0 and (plain.nll, plain.ece) == (found.nll, found.ece)


def test_an_image_whose_foreground_the_crop_lost_altogether_is_not_empty() -> None:
    one = case(0)
    gone = Case("s0", one.image, np.zeros_like(one.mask), lost=np.array([[20, 3, 3]], dtype=np.int32))
    probs = np.stack([np.ones(one.mask.shape), np.zeros(one.mask.shape)]).astype(np.float32)
    found = evaluation.test_scores(lambda _: Prediction(one.mask == 2, probs), [gone], 2).scores["s0"]
    assert (found.dice, found.empty) == (0.0, False)


def test_voxels_far_from_the_truth_count_in_the_whole_volume_only() -> None:
    one = case(0)
    probs = np.full((2, 16, 16, 16), 0.5, dtype=np.float32)
    probs[:, :, :, 12:] = np.array([0.9, 0.1], dtype=np.float32)[:, None, None, None]  # beyond the lesion
    prediction = Prediction(one.mask == 1, probs)
    near = evaluation.test_scores(lambda _: prediction, [one], 4).scores["s0"]
    whole = evaluation.test_scores(lambda _: prediction, [one], 100).scores["s0"]
    assert near.brier == pytest.approx(0.25) and near.entropy == pytest.approx(np.log(2))
    assert near.nll == pytest.approx(np.log(2)) and whole.brier < 0.25
    assert near.nll_volume == whole.nll_volume == pytest.approx((12 * np.log(2) - 4 * np.log(0.9)) / 16)


def test_false_positives_change_no_region() -> None:
    one, probs = case(0), np.zeros((2, 16, 16, 16), dtype=np.float32)
    probs[0], probs[1] = 0.99, 0.01
    quiet = evaluation.test_scores(lambda _: Prediction(one.mask == 1, probs.copy()), [one], 2).scores["s0"]
    probs[:, 14:, 14:, 14:] = np.array([0.01, 0.99], dtype=np.float32)[:, None, None, None]
    loud = evaluation.test_scores(lambda _: Prediction(one.mask == 1, probs), [one], 2).scores["s0"]
    assert loud.nll == quiet.nll and loud.brier == quiet.brier
    assert loud.nll_volume > quiet.nll_volume


def test_the_summary_is_the_mean_over_subjects_whatever_their_order() -> None:
    by_subject = {
        f"s{index}": scores(dice=0.1 * index, brier=0.2 * index, expected_dice=0.3 + 0.1 * index)
        for index in range(5)
    }
    found = summarise(by_subject, "test")
    assert found["test_dice"] == pytest.approx(0.2) and found["test_brier"] == pytest.approx(0.4)
    assert found["test_dice_correlation"] == pytest.approx(1)  # always 0.3 too high, and always in step
    assert found["test_dice_prediction_error"] == pytest.approx(0.3)
    assert found["n_test"] == 5 and found["n_test_empty"] == 0
    assert "test_dice_mc" not in found and "test_mutual_information" not in found
    assert summarise(dict(reversed(by_subject.items())), "test") == pytest.approx(found)


def test_the_dice_of_the_averaged_probabilities_is_what_they_promise() -> None:
    by_subject = {
        f"s{index}": scores(dice=0.9, dice_mc=0.2 * index, mutual_information=0.01, expected_dice=0.2 * index)
        for index in range(4)
    }
    found = summarise(by_subject, "test")
    assert found["test_dice_correlation"] == pytest.approx(1)
    assert found["test_dice_prediction_error"] == pytest.approx(0)
    assert found["test_dice"] == pytest.approx(0.9) and found["test_dice_mc"] == pytest.approx(0.3)


def test_an_undefined_correlation_is_left_out() -> None:
    two = {"a": scores(dice=0.2), "b": scores(dice=0.4, expected_dice=0.7)}
    assert "test_dice_correlation" not in summarise(two, "test")
    assert "test_dice_correlation" not in summarise(two | {"c": scores(dice=0.3)} | {"b": scores()}, "test")
    assert all(np.isfinite(list(summarise(two, "test").values())))
