"""Several modalities as input channels through all stages: knowledge from one two-channel task to another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import build_sweep
from dwp_sweep.nets.net_files import load_net
from dwp_sweep.store.local.store import LocalStore
from tests.data.editions import write_edition
from tests.stages.test_pipeline import build

N = 6


def space(root: Path, **fixed: Any) -> dict[str, Any]:
    prepared = {"shape": [16, 16, 16]}
    return {
        "name": "modalities",
        "data": {
            "allow_shared_scans": True,
            "source": {
                "layout": "ms", "root": str(root), "image_pattern": ["*t2w*", "*t2f*"],
                "mask_pattern": "*seg*", "labels": [3], "n_val": 1, "preprocess": prepared,
            },
            "target": {
                "layout": "brats", "root": str(root), "modality": ["t2", "flair"],
                "n_val": 1, "n_test": 2, "preprocess": prepared,
            },
        },
        "fixed": {
            "unet": {"channels": [2, 4, 4, 4], "in_channels": 2},
            "source": {"n_seeds": 2, "n_cycles": 2, "max_epochs": 1},
            "prior": {"max_epochs": 1, "batch_size": 16, "latent_dim": 2},
            "target": {"max_epochs": 2},
            "train_size": 3,
            **fixed,
        },
        "grid": {"method": ["fine_tune", "deep_weight_prior"]},
    }  # fmt: skip


@pytest.mark.slow
def test_two_modalities_go_through_every_stage(tmp_path: Path) -> None:
    for index in range(N):
        write_edition(tmp_path / "scans", 2023, f"BraTS-GLI-0000{index}-000", seed=index)
    store = LocalStore(tmp_path / "runs")
    sweep = build_sweep(load_space(space(tmp_path / "scans")), store.root)
    for node in sweep.nodes.values():
        build(node, store)

    targets = [node for node in sweep.nodes.values() if node.stage == "target"]
    assert len(targets) == 2
    for node in targets:
        folder, record = store.node_dir("target", node.key), store.record("target", node.key)
        scores = json.loads((folder / "test_scores.json").read_text())
        assert load_net(folder)(torch.zeros(1, 2, 16, 16, 16)).shape == (1, 2, 16, 16, 16)
        assert record is not None and record.metrics["test_volume_error_ml"] == pytest.approx(
            sum(one["volume_error_ml"] for one in scores.values()) / len(scores)
        )
        undefined = sum(one["hd95_mm"] is None for one in scores.values())
        assert record.metrics["n_test_hd95_mm_undefined"] == undefined
