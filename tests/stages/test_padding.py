"""Keys move where a network pads windowed scans, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dwp_sweep.config.node import make_node
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig
from dwp_sweep.stages.contract import never_revised
from dwp_sweep.stages.network_training import train_network
from dwp_sweep.stages.source import SourceStageConfig
from dwp_sweep.stages.source import stage as source
from dwp_sweep.stages.target import TargetConfig, TargetStageConfig
from dwp_sweep.stages.target import stage as target
from dwp_sweep.training.compute import ComputeConfig

WINDOW = {"window": [-100.0, 200.0]}


def nodes(
    preprocess: dict[str, Any], patch: dict[str, Any] | None = None, revised: bool = True
) -> tuple[str, str]:
    """Keys of a source and a target node, or those that they had before results were revised."""
    data = DatasetConfig.model_validate({"layout": "msd", "root": "/data", "preprocess": preprocess})
    sections = {"patch": patch or {}}
    one = SourceStageConfig.model_validate({"dataset": data, "source": sections})
    other = TargetStageConfig.model_validate(
        {"method": "random_init", "train_size": 5, "split": 0, "seed": 0, "dataset": data, "target": sections}
    )
    stages = (
        (source, target) if revised else tuple(replace(s, revision=never_revised) for s in (source, target))
    )
    return make_node(stages[0], one).key, make_node(stages[1], other).key


@pytest.mark.parametrize(
    ("preprocess", "patch"),
    [({}, {}), ({"shape": [22, 30, 17]}, {"shape": [8, 8, 16]}), (WINDOW | {"shape": [24, 32, 16]}, {})],
)
def test_keys_of_unchanged_results_are_what_they_were(preprocess, patch) -> None:
    assert nodes(preprocess, patch) == nodes(preprocess, patch, revised=False)


def test_keys_of_changed_results_are_others() -> None:
    assert not set(nodes(WINDOW)) & set(nodes(WINDOW, revised=False))


@pytest.mark.parametrize(
    ("preprocess", "patch", "revisions"),
    [
        ({}, {}, 0),
        ({"shape": [20, 20, 20]}, {}, 0),
        (WINDOW, {}, 1),
        (WINDOW | {"shape": [20, 24, 24]}, {}, 1),
        (WINDOW | {"shape": [8, 8, 8]}, {}, 1),
        (WINDOW | {"shape": [24, 24, 24]}, {}, 0),
        (WINDOW, {"shape": [24, 24, 24]}, 0),
        (WINDOW | {"shape": [24, 24, 24]}, {"shape": [8, 8, 8]}, 1),
    ],
)
def test_only_windowed_scans_that_networks_pad_have_new_results(preprocess, patch, revisions) -> None:
    data = DatasetConfig.model_validate({"layout": "msd", "root": "/data", "preprocess": preprocess})
    config = SourceStageConfig.model_validate({"dataset": data, "source": {"patch": patch}})
    assert source.revision(config) == revisions
    assert source.revision(SourceStageConfig()) == 0


def test_a_network_pads_with_the_background_of_what_it_trains_on(tmp_path) -> None:
    unet = UNetConfig(channels=(2, 2, 2, 2))
    config, compute = TargetConfig(max_epochs=1), ComputeConfig(device="cpu")
    for background in (-1.0, 0.0):
        inputs = MethodInputs(unet, LossConfig(), {}, 1, 0, torch.device("cpu"))
        prepared = METHODS["random_init"].prepare(inputs)
        image = np.random.default_rng(0).normal(size=(1, 9, 9, 9)).astype(np.float32)
        case = Case("s", image, (image[0] > 1).astype(np.uint8), background=background)
        checkpoint = tmp_path / f"{background}.safetensors"
        train_network(prepared, [case], [case], config, compute, 0, checkpoint, lambda epoch, metrics: None)

        assert isinstance(prepared.net, UNet3D) and prepared.net.background == background
