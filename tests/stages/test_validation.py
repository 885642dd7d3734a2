from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.stages import evaluation
from dwp_sweep.stages.evaluation import Prediction
from dwp_sweep.stages.scores import summarise
from dwp_sweep.stages.validation import TEMPERATURE_FILE, load_temperature, save_temperature, validate
from tests.stages.test_evaluation import case

NEAR = 3.0


def network(sharpness: float) -> Callable[[Case], Prediction]:
    """Logits that know the truth a little, times a factor."""

    def predict(one: Case) -> Prediction:
        rng = np.random.default_rng(int(one.id.removeprefix("s")) + 100)
        score = (2.0 * np.asarray(one.mask) - 1) + rng.normal(size=one.mask.shape)
        logits = torch.from_numpy(np.stack([-score, score]) * sharpness)
        probs = logits.softmax(0).float().numpy()
        return Prediction(probs[1] > probs[0], probs)

    return predict


def test_logits_times_c_give_the_temperature_times_c_and_the_same_overlap() -> None:
    cases = [case(seed) for seed in range(3)]
    plain, sure = (validate(network(factor), cases, NEAR) for factor in (1.0, 4.0))
    assert sure.temperature.value == pytest.approx(4 * plain.temperature.value, rel=1e-3)
    assert plain.overlaps == sure.overlaps and plain.temperature.n_scans == 3


def test_test_scores_with_a_temperature_stand_beside_the_others_and_change_none() -> None:
    predict, tested = network(5.0), [case(seed) for seed in range(10, 14)]
    temperature = validate(predict, [case(seed) for seed in range(3)], NEAR).temperature
    before, after = (
        evaluation.test_scores(predict, tested, NEAR),
        evaluation.test_scores(predict, tested, NEAR, temperature),
    )
    plain, calibrated = summarise(before.scores, "test"), summarise(after.scores, "test")
    new = {"test_nll_calibrated", "test_ece_calibrated", "test_brier_calibrated"}
    assert calibrated.keys() - plain.keys() == new
    assert {name: calibrated[name] for name in plain} == plain
    assert calibrated["test_nll_calibrated"] < 0.6 * calibrated["test_nll"]
    assert calibrated["test_brier_calibrated"] < calibrated["test_brier"]
    assert set(after.scores["s10"].as_json()) - set(before.scores["s10"].as_json()) == {
        name.removeprefix("test_") for name in new
    }


def test_without_foreground_in_the_validation_scans_nothing_is_calibrated_and_the_reason_is_kept(
    tmp_path: Path,
) -> None:
    empty = [replace(case(seed), mask=np.zeros((16, 16, 16), dtype=np.uint8)) for seed in range(2)]
    temperature = validate(network(5.0), empty, NEAR).temperature
    scores = evaluation.test_scores(network(5.0), [case(9)], NEAR, temperature).scores
    assert not any("calibrated" in name for name in summarise(scores, "test"))
    save_temperature(temperature, tmp_path)
    assert load_temperature(tmp_path) == temperature
    assert "none of the 2 validation scans has foreground" in load_temperature(tmp_path).note


def test_scans_that_trained_the_network_fit_no_temperature() -> None:
    temperature = validate(network(5.0), [case(0)], NEAR, have_trained=True).temperature
    assert temperature.value == 1 and "trained this network too" in temperature.note


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"value": 0, "n_scans": 1}', '{"value": "a"}', '{"temperature": 2}']
)
def test_a_damaged_temperature_names_its_file(text: str, tmp_path: Path) -> None:
    (tmp_path / TEMPERATURE_FILE).write_text(text)
    with pytest.raises(ValueError, match=TEMPERATURE_FILE):
        load_temperature(tmp_path)


def test_a_run_of_an_older_version_has_none_and_says_so(tmp_path: Path) -> None:
    assert load_temperature(tmp_path) == Temperature(
        note="the run is of a version that fitted no temperature"
    )
