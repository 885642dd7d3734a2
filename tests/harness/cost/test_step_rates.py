"""What nodes take by the bench's training step: arithmetic whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.step_rates import StepRates, keep_rates, macs
from dwp_sweep.harness.dag.resources import Resources

RATES = {"cpu": {"fp32": 0.3, "dwp fp32": 0.45, "threads": 4}, "cuda": {"fp32": 0.003, "threads": 4}}
WHOLE, ON_GPU = Resources(4.0, 0.0), Resources(1.0, 0.25)


def node(
    stage: str = "target",
    needs: str = "",
    noisy: bool = False,
    size: int | None = 48,
    n_val: int = 0,
    n_test: int = 0,
    **values: Any,
) -> Node:
    training = {"batch_size": 2, "max_epochs": 30, "steps_per_epoch": 10, "patience": 3, "factor": 0.1}
    training |= {"lr": 1e-3, "stop_lr": 1e-6, "n_samples": 8, "n_cycles": 2}
    dataset = {
        "layout": "msd",
        "preprocess": {"shape": size and [size] * 3},
        "n_val": n_val,
        "n_test": n_test,
    }
    config = {
        stage: training | values,
        "dataset": dataset,
        "unet": {"channels": [16, 32, 32, 64]},
        "compute": {"precision": "fp32"},
        "settings": {"some": {"noise": "weight"}} if noisy else {},
    }
    return Node("0" * 20, stage, config, {needs: (("prior", "1" * 20),)} if needs else {})


def most_s(given: Node, shape: Resources = WHOLE) -> float:
    found = StepRates(RATES).duration(given, shape)
    assert found is not None
    return found.mean_s


def test_the_benchs_own_case_takes_as_many_steps_as_it_has() -> None:
    found = StepRates(RATES).duration(node(), WHOLE)
    assert found is not None
    assert found.high_s == pytest.approx(300 * 0.3)
    # Three falls of the rate, each after 4 epochs without improvement, and the first epoch.
    assert found.low_s == pytest.approx(130 * 0.3)
    assert found.n == 0


def test_it_grows_with_voxels_batch_cycles_and_the_bound_over_kernels() -> None:
    whole = most_s(node())
    assert most_s(node(patch={"shape": [48, 48, 24]})) == pytest.approx(whole / 2)
    assert most_s(node(batch_size=4)) == pytest.approx(2 * whole)
    assert most_s(node("source")) == pytest.approx(2 * whole)
    assert most_s(node(needs="priors")) == pytest.approx(1.5 * whole)
    assert most_s(node(), ON_GPU) == pytest.approx(whole / 100)
    extra_s = most_s(node(needs="priors", size=24)) - most_s(node(size=24))
    assert extra_s == pytest.approx(0.5 * whole), "the bound is over kernels, not over voxels"


def test_a_trial_with_fewer_cores_takes_longer_and_one_with_more_not_less() -> None:
    assert most_s(node(), Resources(1.0, 0.0)) == pytest.approx(4 * most_s(node()))
    assert most_s(node(), Resources(8.0, 0.0)) == pytest.approx(most_s(node()))


def test_validation_and_test_are_forward_passes_and_noise_takes_several() -> None:
    assert most_s(node(n_val=4, n_test=6)) == pytest.approx(0.3 * (300 + 30 * 2 / 3 + 6 / 2 / 3))
    assert most_s(node(n_test=6, noisy=True)) == pytest.approx(0.3 * (300 + 8 * 6 / 2 / 3))


@pytest.mark.parametrize(
    ("given", "rates"), [(node(size=None), RATES), (node(), {}), (replace(node(), stage="prior"), RATES)]
)
def test_what_cannot_be_told_is_not_guessed(given: Node, rates: Any) -> None:
    assert StepRates(rates).duration(given, WHOLE) is None


def test_the_arithmetic_is_that_of_the_convolutions() -> None:
    assert macs((16, 32, 32, 64)) / 16**3 == pytest.approx(36_800, rel=0.01), "counted by another program"
    assert 3.5 < macs((32, 64, 64, 128)) / macs((16, 32, 32, 64)) < 4, "quadratic but in the first layer"


def test_rates_are_kept_by_device_and_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "rates.json"
    keep_rates("cpu", 4, RATES["cpu"], path)
    keep_rates("cuda", 4, RATES["cuda"], path)
    found = StepRates.kept(path)
    assert found.duration(node(), WHOLE) == StepRates(RATES).duration(node(), WHOLE)
    assert found.duration(node(), ON_GPU) is not None
    path.write_text("{")
    assert StepRates.kept(path).duration(node(), WHOLE) is None
