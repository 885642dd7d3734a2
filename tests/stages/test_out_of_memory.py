"""Wherever in a stage the device's memory ends, the message names the field to lower."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.errors import DeviceMemoryError
from dwp_sweep.nets.kernel_bank import collect_bank, save_bank
from dwp_sweep.nets.unet3d import UNet3D, he_init
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.strict import parse

SPACE: dict[str, Any] = {
    "name": "memory",
    "data": {
        kind: {
            "layout": "phantom",
            "phantom": {"kind": kind, "n_subjects": n_subjects, "shape": [16, 16, 16]},
            "preprocess": {"shape": [16, 16, 16]},
            "n_val": 1,
            **roles,
        }
        for kind, n_subjects, roles in (("source", 2, {}), ("target", 3, {"n_test": 1}))
    },
    "fixed": {
        "unet.channels": [2, 2, 2, 2],
        "source": {"n_seeds": 1, "n_cycles": 1, "max_epochs": 1},
        "target": {"max_epochs": 1},
        "train_size": 1,
    },
    "grid": {"method": ["random_init", "fine_tune"]},
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return build_sweep(load_space(SPACE), tmp_path_factory.mktemp("runs"))


def out_of_memory(*arguments: Any, **options: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def silent(stage: str, step: int, metrics: Mapping[str, float]) -> None:
    return None


def run_out(stage_name: str, settings: Mapping[str, Any], inputs: Any, folder: Path) -> str:
    """What the stage says when it ends."""
    stage = STAGES[stage_name]
    (folder / "work").mkdir()
    with pytest.raises(DeviceMemoryError) as caught:
        stage.run(parse(stage.config, settings, "node"), inputs, folder / "work", folder / "out", silent)
    return str(caught.value)


def settings_of(sweep: Sweep, stage: str) -> Mapping[str, Any]:
    nodes = [node for node in sweep.nodes.values() if node.stage == stage]
    return next(node for node in nodes if node.labels.get("method") in (None, "random_init")).config


PLACES = {
    "the network moves to the device": "torch.nn.Module.to",
    "a step": "dwp_sweep.methods.start.segmentation_loss",
    "validation": "dwp_sweep.stages.network_training.validation_metrics",
}
LATER = {
    "test images are scored": "dwp_sweep.stages.target.test_scores",
    "a picture is drawn": "dwp_sweep.stages.target.slice_figure",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_source_stage_names_its_batch_size_wherever_memory_ends(
    place: str, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PLACES[place], out_of_memory)
    assert "lower source.batch_size (now 2)" in run_out("source", settings_of(sweep, "source"), {}, tmp_path)


@pytest.mark.parametrize("place", [*PLACES, *LATER])
def test_a_target_stage_names_its_batch_size_wherever_memory_ends(
    place: str, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr((PLACES | LATER)[place], out_of_memory)
    assert "lower target.batch_size (now 2)" in run_out("target", settings_of(sweep, "target"), {}, tmp_path)


@pytest.mark.parametrize(
    "place", ["torch.nn.Module.to", "prior_fit.vae_loss", "prior.prior_scores", "prior.kernel_figure"]
)
def test_a_prior_stage_names_its_batch_size_wherever_memory_ends(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = UNet3D(1, 2, (2, 2, 2, 2))
    he_init(net, torch.Generator().manual_seed(0))
    save_bank(collect_bank({(0, cycle): net for cycle in range(10)}), tmp_path / "bank")
    monkeypatch.setattr(place if place.startswith("torch.") else f"dwp_sweep.stages.{place}", out_of_memory)
    settings = {"group": 1, "prior": {"max_epochs": 1}}
    said = run_out("prior", settings, {"bank": (tmp_path / "bank",)}, tmp_path)
    assert "lower prior.batch_size (now 20)" in said
