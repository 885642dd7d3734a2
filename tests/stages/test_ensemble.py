"""Networks of several seeds, scored one by one and together, from the grid to the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.data.splits import Split
from dwp_sweep.errors import InputError
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.report.answers.ensembles import ensemble_table
from dwp_sweep.stages.ensemble import EnsembleStageConfig, MemberConfig, _common_test, _with_note
from dwp_sweep.stages.validation import load_temperature
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.tables import plain_text
from dwp_sweep.tracking.read.reader import results_of_store
from tests.stages.test_pipeline import SPACE, build

SEEDS = {
    **SPACE,
    "data": {"target": SPACE["data"]["target"]},
    "fixed": {"unet.channels": [2, 4, 4, 4], "target.max_epochs": 3, "train_size": 3},
    "grid": {"method": ["random_init", "noise_only"], "seed": [0, 1]},
    "ensemble": "seed",
}


def score(node: str, sweep: Sweep, store: LocalStore) -> dict[str, float]:
    record = store.record(sweep.nodes[node].stage, node)
    assert record is not None
    return dict(record.metrics)


@pytest.mark.slow
def test_the_mean_of_two_networks_is_scored_and_an_ensemble_of_one_scores_what_it_scores(
    tmp_path: Path,
) -> None:
    store = LocalStore(tmp_path)
    sweep, alone = (build_sweep(load_space(SEEDS, change), store.root) for change in ((), ("seed=0",)))
    for node in {**sweep.nodes, **alone.nodes}.values():
        if not store.is_published(node.stage, node.key):
            build(node, store)
    for key in sweep.targets[-2:]:
        metrics = score(key, sweep, store)
        singles = [score(member, sweep, store) for _, member in sweep.nodes[key].inputs["targets"]]
        for name in ("nll", "brier"):
            mean = sum(one[f"test_{name}"] for one in singles) / 2
            assert metrics[f"members_test_{name}"] == pytest.approx(mean)
            assert metrics[f"test_{name}"] <= mean + 1e-6
        assert metrics["n_members"] == 2 and metrics["n_test"] == 2 and metrics["test_mutual_information"] > 0
        scores = json.loads((store.node_dir("ensemble", key) / "test_scores.json").read_text())
        assert sum(one["dice"] for one in scores.values()) / 2 == pytest.approx(metrics["test_dice"])
        assert load_temperature(store.node_dir("ensemble", key)).is_fitted == ("temperature" in metrics)
    for key in alone.targets[-2:]:
        metrics, (single,) = score(key, alone, store), alone.nodes[key].inputs["targets"]
        expected = score(single[1], alone, store)
        for name in ("test_nll", "test_ece", "test_brier", "test_nll_volume", "test_mutual_information"):
            assert metrics.get(name) == expected.get(name)
        dice = expected.get("test_dice_mc", expected["test_dice"])
        assert metrics["test_dice"] == metrics["members_test_dice"] == dice or "test_dice_mc" in expected
    table = ensemble_table(results_of_store([*sweep.nodes.values()], store))
    assert table is not None and "mean of several networks" in plain_text(table)
    assert len(table.rows) == 2


def config(*splits: int) -> EnsembleStageConfig:
    return EnsembleStageConfig.model_validate(
        {
            "method": "random_init",
            "train_size": 2,
            "members": tuple(MemberConfig(split=split, seed=0) for split in splits),
            "dataset": {"layout": "msd", "root": "/gone"},
        }
    )


def test_splits_that_test_different_scans_are_no_ensemble() -> None:
    first, second = Split(("a",), ("b",), ("c", "d")), Split(("c",), ("b",), ("a", "d"))
    with pytest.raises(InputError, match="splits 0, 1 test different scans"):
        _common_test([first, second], config(0, 1))
    shuffled = Split(("b",), ("a",), ("d", "c"))
    assert _common_test([first, shuffled], config(0, 1)) == ("c", "d")


def test_a_temperature_of_fewer_networks_than_predict_says_so() -> None:
    fitted = Temperature(2.0, 3)
    assert _with_note(fitted, 5, 5) == fitted
    assert "seen by some of the 5 networks, so it is that of 1 network" in _with_note(fitted, 1, 5).note
    assert _with_note(Temperature(note="why"), 1, 5).note == "why"
