"""bf16 and fp32 trainings of the same seeds end within the noise between seeds."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import build_sweep
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.strict import parse

N_SEEDS = 4
PHANTOM = {"n_subjects": 9, "shape": [24, 24, 24]}
SPACE: dict[str, Any] = {
    "name": "precision",
    "data": {
        "source": {
            "layout": "phantom",
            "phantom": {"kind": "source", **PHANTOM},
            "n_val": 1,
            "preprocess": {"shape": [24, 24, 24]},
        },
        "target": {
            "layout": "phantom",
            "phantom": {"kind": "target", **PHANTOM},
            "n_val": 2,
            "n_test": 3,
            "preprocess": {"shape": [24, 24, 24]},
        },
    },
    "fixed": {
        "unet.channels": [4, 8, 8, 8],
        "target": {"max_epochs": 8, "steps_per_epoch": 10, "lr": 0.003},
        "train_size": 4,
        "method": "random_init",
    },
    "grid": {"compute.precision": ["fp32", "bf16"], "seed": list(range(N_SEEDS))},
}


def final_scores(root: Path) -> dict[str, list[float]]:
    """Test Dice by precision, in order of the seeds."""
    scores: dict[str, list[float]] = {"fp32": [], "bf16": []}
    stage = STAGES["target"]
    nodes = [node for node in build_sweep(load_space(SPACE), root).nodes.values() if node.stage == "target"]
    for node in sorted(nodes, key=lambda node: node.config["seed"]):
        config = parse(stage.config, node.config, "node")
        work, out = root / f"{node.key}-work", root / f"{node.key}-out"
        work.mkdir(parents=True)
        out.mkdir()
        metrics = stage.run(config, {}, work, out, lambda stage, step, metrics: None)
        scores[node.config["compute"]["precision"]].append(metrics["test_dice"])
    return scores


@pytest.mark.slow
def test_bf16_ends_within_the_noise_between_seeds(tmp_path: Path) -> None:
    scores = final_scores(tmp_path)
    fp32, bf16 = scores["fp32"], scores["bf16"]
    assert len(fp32) == len(bf16) == N_SEEDS and fp32 != bf16
    assert min(fp32) > 0.2  # they learn: equal failures would say nothing
    # Two means over seeds differ by chance with this standard error.
    chance = statistics.stdev(fp32) * (2 / N_SEEDS) ** 0.5
    assert abs(statistics.mean(bf16) - statistics.mean(fp32)) < 3 * chance
