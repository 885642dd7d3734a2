"""Scores with several classes: each against all the rest, means over the classes, and one as without any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.metrics.overlap import overlap, overlap_row
from dwp_sweep.metrics.physical import mean_over_classes, physical_scores
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.nets.bayes_conv import make_bayesian
from dwp_sweep.nets.unet3d import UNet3D, he_init
from dwp_sweep.stages import evaluation
from dwp_sweep.stages.evaluation import Prediction, predict_volume
from dwp_sweep.stages.prediction import PostprocessConfig, clean_mask
from dwp_sweep.stages.scores import SubjectScores, summarise
from dwp_sweep.stages.validation import validate
from dwp_sweep.training.compute import ComputeConfig

CPU = ComputeConfig(device="cpu")
NAMES = ("core", "oedema")
SHAPE = (12, 12, 12)


def case(seed: int = 0, numbers: tuple[int, ...] = (1, 2)) -> Case:
    """Two blocks side by side, of the classes that are asked for."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    for number in numbers:
        mask[3:7, 3 * number : 3 * number + 3, 4:9] = number
    return Case(f"s{seed}", np.zeros((1, *SHAPE), dtype=np.float32), mask, (1.0, 2.0, 3.0))


def prediction(one: Case, seed: int = 1, n_classes: int = 3) -> Prediction:
    """Noisy logits that know the truth a little."""
    rng = np.random.default_rng(seed)
    truth = np.asarray(one.mask)
    logits = rng.normal(size=(n_classes, *SHAPE)) + 1.5 * (np.arange(n_classes)[:, None, None, None] == truth)
    probs = torch.from_numpy(logits).softmax(0).float().numpy()
    return Prediction(probs.argmax(axis=0).astype(np.uint8), probs)


def scored(one: Case, said: Prediction, names: tuple[str, ...] = NAMES, **more: Any) -> SubjectScores:
    return evaluation.test_scores(lambda _: said, [one], 2.0, classes=names, **more).scores[one.id]


def test_each_class_has_the_scores_of_a_binary_network_for_it_alone() -> None:
    one, said = case(), prediction(case())
    found = scored(one, said, temperature=Temperature(2.0, 3))
    for number, name in enumerate(NAMES, 1):
        rest = 1 - said.probs[number]
        alone = Prediction(said.mask == number, np.stack([rest, said.probs[number]]).astype(np.float32))
        expected = scored(one.of_class(number), alone, ())
        of_class = found.classes[name]
        for score in ("dice", "iou", "empty", "physical"):
            assert getattr(of_class, score) == getattr(expected, score)
        for score in ("brier", "ece"):
            assert getattr(of_class, score) == pytest.approx(getattr(expected, score), rel=1e-5)


def test_the_scores_of_an_image_are_means_over_its_classes() -> None:
    found = scored(case(), prediction(case()), temperature=Temperature(2.0, 3))
    for score in ("dice", "iou", "brier", "ece", "expected_dice", "brier_calibrated", "ece_calibrated"):
        values = [getattr(found.classes[name], score) for name in NAMES]
        assert getattr(found, score) == pytest.approx(np.mean(values))
    assert found.physical == mean_over_classes([found.classes[name].physical for name in NAMES])  # type: ignore[misc]


def test_likelihood_and_entropy_are_of_the_whole_distribution() -> None:
    one, said = case(), prediction(case())
    found, truth = scored(one, said), torch.from_numpy(np.asarray(one.mask)).long()[None]
    log_probs = torch.from_numpy(said.probs)[None].double().log()
    expected = torch.nn.functional.nll_loss(log_probs, truth)
    assert found.nll_volume == pytest.approx(float(expected), rel=1e-6)
    far = evaluation.test_scores(lambda _: said, [one], 100.0, classes=NAMES).scores[one.id]
    assert far.nll == pytest.approx(far.nll_volume)
    assert far.entropy == pytest.approx(float(-(log_probs.exp() * log_probs).sum(1).mean()), rel=1e-6)


def test_names_of_classes_stand_behind_the_names_of_scores_and_all_others_stay() -> None:
    binary = evaluation.test_scores(
        lambda one: prediction(one, n_classes=2), [case(n, (1,)) for n in range(4)], 2.0
    )
    several = evaluation.test_scores(prediction, [case(n) for n in range(4)], 2.0, classes=NAMES)
    plain, found = summarise(binary.scores, "test"), summarise(several.scores, "test")
    assert plain.keys() == {name for name in found if "." not in name}
    of_core = {name.removesuffix(".core") for name in found if name.endswith(".core")}
    assert of_core == {
        name for name in plain if name not in {"n_test", "test_nll", "test_nll_volume", "test_entropy"}
    }
    assert found["test_dice"] == pytest.approx(np.mean([found[f"test_dice.{name}"] for name in NAMES]))
    row = several.scores["s0"].as_json()
    assert row["dice.core"] == several.scores["s0"].classes["core"].dice
    assert "hd95_mm.oedema" in row and "nll.core" not in row and "classes" not in row


def test_a_class_that_is_absent_scores_as_an_empty_image_does() -> None:
    absent, quiet, loud = case(0, (1,)), case(0, (1,)).mask.copy(), case(0, (1, 2)).mask
    probs = np.stack([np.full(SHAPE, 0.8), np.full(SHAPE, 0.1), np.full(SHAPE, 0.1)]).astype(np.float32)
    right, wrong = scored(absent, Prediction(quiet, probs)), scored(absent, Prediction(loud, probs))
    assert (right.dice, right.classes["oedema"].dice, right.classes["oedema"].empty) == (1.0, 1.0, True)
    assert (wrong.dice, wrong.classes["oedema"].dice) == (0.5, 0.0) and not right.empty
    assert right.physical is not None and right.physical.hd95_mm == 0.0
    assert wrong.physical is not None and wrong.physical.hd95_mm is None
    counts = summarise({"a": right, "b": wrong}, "test")
    assert counts["n_test_empty.oedema"] == 1 and counts["n_test_hd95_mm_undefined.oedema"] == 1
    assert counts["n_test_hd95_mm_undefined"] == 1 and counts["n_test_empty"] == 0


def test_a_class_that_is_missed_makes_no_mean_distance_better() -> None:
    truth = np.asarray(case().mask)
    both = [physical_scores(truth == number, truth == number, (1, 1, 1)) for number in (1, 2)]
    missed = physical_scores(np.zeros_like(truth), truth == 2, (1, 1, 1))
    assert mean_over_classes(both).hd95_mm == 0.0
    found = mean_over_classes([both[0], missed])
    assert found.hd95_mm is None and found.asd_mm is None
    assert found.lesion_sensitivity == 0.5 and found.n_lesions == 2
    nowhere = physical_scores(truth == 9, truth == 9, (1, 1, 1))
    assert mean_over_classes([both[0], nowhere]).lesion_sensitivity == 1.0


def test_what_a_crop_lost_of_a_class_counts_as_missed_by_that_class() -> None:
    one = case()
    lost = np.array([[-1, 0, 0, 2], [-2, 0, 0, 2]], dtype=np.int32)
    cropped = Case(one.id, one.image, one.mask, one.spacing_mm, lost=lost)
    probs = np.stack([one.mask == number for number in range(3)]).astype(np.float32)
    perfect = scored(cropped, Prediction(np.asarray(one.mask), probs))
    n = int((one.mask == 2).sum())
    assert perfect.classes["core"].dice == 1.0
    assert perfect.classes["oedema"].dice == pytest.approx(2 * n / (2 * n + 2))


@pytest.mark.parametrize("log_var", [None, -3.0])
def test_a_network_of_three_classes_gives_numbers_and_their_probabilities(log_var: float | None) -> None:
    net = UNet3D(1, 4, (2, 4, 4, 4))
    he_init(net, torch.Generator().manual_seed(0))
    if log_var is not None:
        make_bayesian(net, log_var, generator=torch.Generator().manual_seed(5))
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)
    one = Case("s", image, np.zeros((16, 16, 16), dtype=np.uint8))
    said = predict_volume(net, one, CPU, 3, 0)
    assert said.mask.dtype == np.uint8 and said.probs.shape == (4, 16, 16, 16)
    assert len(np.unique(said.mask)) > 2
    np.testing.assert_allclose(said.probs.sum(axis=0), 1, atol=1e-5)
    if log_var is None:
        np.testing.assert_array_equal(said.mask, said.probs_mask)
    else:
        assert said.draws_mask is not None and said.mutual_information is not None
        np.testing.assert_array_equal(said.draws_mask, said.probs_mask)
        assert 0 < said.mutual_information.max() <= np.log(4)


def test_each_class_is_cleaned_up_by_itself() -> None:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[:4, :4, :4], mask[4:6, :2, :2], mask[10, 10, 10], mask[11, 11, 11] = 1, 2, 1, 2
    cleaned = clean_mask(mask, PostprocessConfig(largest_component=True), (1, 1, 1))
    expected = mask.copy()
    expected[10, 10, 10] = expected[11, 11, 11] = 0
    np.testing.assert_array_equal(cleaned, expected)


def test_validation_scores_every_class_and_fits_the_temperature_of_them_all() -> None:
    val = validate(prediction, [case(n) for n in range(3)], 3.0, classes=NAMES)
    assert val.temperature.is_fitted
    row, said = val.overlaps["s0"], prediction(case(0))
    assert row["dice"] == pytest.approx((row["dice.core"] + row["dice.oedema"]) / 2)
    assert row["dice.core"] == overlap(said.mask == 1, case().mask == 1).dice
    assert overlap_row(case().mask, case().mask)["dice"] == 1.0
