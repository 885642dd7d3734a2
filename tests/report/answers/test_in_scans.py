from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.report.answers import in_scans
from dwp_sweep.report.answers.in_scans import ScansTable, scans_table
from dwp_sweep.report.answers.learning_curve import LearningCurve
from dwp_sweep.tracking.read.reader import frame_of_rows
from dwp_sweep.tracking.read.rows import NodeRow

CURVE = LearningCurve(0.8, 0.9, 0.7)
SIZES = (5, 10, 20)


def frame(
    methods: dict[str, dict[int, float]], n_splits: int = 4, spread: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    """Test Dice by method and size, the same in every split but for what makes a split hard."""
    hard = np.random.default_rng(seed).normal(size=n_splits) * spread
    rows = [
        NodeRow(
            f"{method}{size}{split}", "target", "done",
            {"method": method, "train_size": size, "split": split, "seed": 0}, {"method": method},
            {"test_dice": dice + float(hard[split]), "best_val_dice": 0.5},
        )
        for method, by_size in methods.items()
        for size, dice in by_size.items()
        for split in range(n_splits)
    ]  # fmt: skip
    return frame_of_rows(rows)


def planted(shift: int = 0, sizes: tuple[int, ...] = SIZES) -> dict[int, float]:
    return {size: CURVE.at(size + shift) for size in sizes}


def row(table: ScansTable, size: int) -> tuple[float, float | None, float | None]:
    (found,) = (one for one in table.rows if one.train_size == size)
    return found.scans, found.low, found.high


def test_a_method_that_scores_as_the_baseline_with_three_scans_more_is_worth_three_scans() -> None:
    table = scans_table(frame({"random_init": planted(), "fine_tune": planted(3)}), "RI")
    for size in SIZES:
        assert row(table, size) == pytest.approx((3, 3, 3), abs=1e-3)
    assert table.curve is not None and table.curve.exponent == pytest.approx(0.7, rel=1e-3)
    assert table.sentences[0] == "UNet-PR at m = 5 is worth 3 scans [3, 3] of UNet-RI"


def test_a_method_that_is_the_baseline_is_worth_0_scans_and_a_worse_one_less() -> None:
    same = {"random_init": planted(), "noise_only": planted(), "fine_tune": planted(-2)}
    table = scans_table(frame(same, spread=0.1), "random_init")
    by_name = {(one.name, one.train_size): one for one in table.rows}
    worse, equal = by_name["UNet-PR", 10], next(one for one in table.rows if one.name != "UNet-PR")
    assert (equal.scans, equal.low, equal.high) == (0, 0, 0)
    assert worse.scans == pytest.approx(-2, abs=0.1) and worse.high is not None and worse.high < 0
    assert "0 scans [0, 0]" in " ".join(table.sentences)


def test_an_effect_beyond_the_plateau_is_worth_more_scans_than_any() -> None:
    table = scans_table(frame({"random_init": planted(), "fine_tune": {5: 0.85}}), "RI")
    assert row(table, 5)[0] == math.inf
    assert "is worth > 200 scans" in table.sentences[0]
    assert json.loads(json.dumps(table.values(), allow_nan=False))["rows"][0]["scans"] is None


def test_the_interval_is_over_splits_and_holds_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_scans, "N_DRAWS", 200)
    n_held = 0
    for seed in range(10):
        rng = np.random.default_rng(100 + seed)
        results = frame({"random_init": planted(), "fine_tune": planted(4)}, n_splits=8)
        noise = rng.normal(size=len(results)) * 0.01
        results["test_dice"] = results["test_dice"] + noise
        scans, low, high = row(scans_table(results, "RI"), 5)
        assert low is not None and high is not None and low <= scans <= high
        n_held += low <= 4 <= high
    assert n_held >= 7


def test_what_twice_the_scans_would_give_is_read_off_each_method_s_own_curve() -> None:
    table = scans_table(frame({"random_init": planted(), "fine_tune": planted(3), "l2_sp": {5: 0.5}}), "RI")
    assert [(one.name, one.train_size) for one in table.forecasts] == [("UNet-RI", 40), ("UNet-PR", 40)]
    assert table.forecasts[0].dice == pytest.approx(CURVE.at(40), abs=1e-4)
    assert "m = 40 would give" in table.text()


def test_one_split_has_no_interval_and_says_so() -> None:
    table = scans_table(frame({"random_init": planted(), "fine_tune": planted(3)}, n_splits=1), "RI")
    assert row(table, 5)[1:] == (None, None) and "one split has no interval" in table.notes


def test_a_baseline_that_does_not_improve_makes_nothing_worth_scans() -> None:
    flat = dict.fromkeys(SIZES, 0.6)
    table = scans_table(frame({"random_init": flat, "fine_tune": planted()}), "RI")
    assert "UNet-RI does not improve with m" in table.notes[0]


def test_fewer_than_three_sizes_are_refused_in_words() -> None:
    two = {"random_init": planted(sizes=(5, 10)), "fine_tune": planted()}
    with pytest.raises(InputError, match=r"UNet-RI has 2 finished training size\(s\) \(5, 10\)") as refused:
        scans_table(frame(two), "RI")
    assert "grid.train_size" in str(refused.value)
    with pytest.raises(InputError, match="no such method or variant"):
        scans_table(frame(two), "DWP")
