"""What nodes take by the bench's training step: arithmetic whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.harness.slots import Shape
from dwp_sweep.harness.step_rates import StepRates, keep_rates, macs

RATES = {"cpu": {"fp32": 0.3, "dwp fp32": 0.45, "threads": 4}, "cuda": {"fp32": 0.003, "threads": 4}}
WHOLE, ON_GPU = Shape(4.0, 0.0), Shape(1.0, 0.25)


def config(stage: str = "target", **values: Any) -> dict[str, Any]:
    training = {"batch_size": 2, "max_epochs": 30, "steps_per_epoch": 10, "patience": 3, "factor": 0.1}
    training |= {"lr": 1e-3, "stop_lr": 1e-6, "n_samples": 8, "n_cycles": 2}
    dataset = {"layout": "msd", "preprocess": {"shape": [48, 48, 48]}, "n_val": 0, "n_test": 0}
    method = {"method": "random_init", "train_size": 5} if stage == "target" else {}
    return {
        stage: training | values,
        "dataset": dataset,
        "unet": {"channels": [16, 32, 32, 64]},
        "compute": {"precision": "fp32"},
    } | method


def most_s(given: dict[str, Any], stage: str = "target", shape: Shape = WHOLE) -> float:
    found = StepRates(RATES).duration(stage, given, shape)
    assert found is not None
    return found.mean_s


def test_the_benchs_own_case_takes_as_many_steps_as_it_has() -> None:
    found = StepRates(RATES).duration("target", config(), WHOLE)
    assert found is not None
    assert found.high_s == pytest.approx(300 * 0.3)
    # Three falls of the rate, each after 4 epochs without improvement, and the first epoch.
    assert found.low_s == pytest.approx(130 * 0.3)
    assert found.n == 0


def test_it_grows_with_voxels_batch_cycles_and_weight_noise() -> None:
    whole = most_s(config())
    assert most_s(config(patch={"shape": [48, 48, 24]})) == pytest.approx(whole / 2)
    assert most_s(config(batch_size=4)) == pytest.approx(2 * whole)
    assert most_s(config("source"), "source") == pytest.approx(2 * whole)
    assert most_s(config() | {"method": "deep_weight_prior"}) == pytest.approx(1.5 * whole)
    small = {"patch": {"shape": [24, 24, 24]}}
    extra_s = most_s(config(**small) | {"method": "deep_weight_prior"}) - most_s(config(**small))
    assert extra_s == pytest.approx(0.5 * whole), "the bound is over kernels, not over voxels"
    assert most_s(config(), shape=ON_GPU) == pytest.approx(whole / 100)


def test_a_trial_with_fewer_cores_takes_longer_and_one_with_more_not_less() -> None:
    assert most_s(config(), shape=Shape(1.0, 0.0)) == pytest.approx(4 * most_s(config()))
    assert most_s(config(), shape=Shape(8.0, 0.0)) == pytest.approx(most_s(config()))


def test_validation_and_test_are_forward_passes() -> None:
    given = config()
    given["dataset"] |= {"n_val": 4, "n_test": 6}
    assert most_s(given) == pytest.approx(0.3 * (300 + 30 * 2 / 3 + 6 / 2 / 3))


@pytest.mark.parametrize("lacking", ["shape", "rate", "stage"])
def test_what_cannot_be_told_is_not_guessed(lacking: str) -> None:
    given, rates, stage = config(), dict(RATES), "target"
    if lacking == "shape":
        given["dataset"]["preprocess"] = {"shape": None}
    elif lacking == "rate":
        rates = {}
    else:
        stage = "prior"
    assert StepRates(rates).duration(stage, given, WHOLE) is None


def test_the_arithmetic_is_that_of_the_convolutions() -> None:
    assert macs((16, 32, 32, 64)) / 16**3 == pytest.approx(36_800, rel=0.01), "counted by another program"
    assert 3.5 < macs((32, 64, 64, 128)) / macs((16, 32, 32, 64)) < 4, "quadratic but in the first layer"


def test_rates_are_kept_by_device_and_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "rates.json"
    keep_rates("cpu", 4, RATES["cpu"], path)
    keep_rates("cuda", 4, RATES["cuda"], path)
    found = StepRates.kept(path)
    assert found.duration("target", config(), WHOLE) == StepRates(RATES).duration("target", config(), WHOLE)
    assert found.duration("target", config(), ON_GPU) is not None
    path.write_text("{")
    assert StepRates.kept(path).duration("target", config(), WHOLE) is None
