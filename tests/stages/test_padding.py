"""What a network pads its scans with."""

from __future__ import annotations

import numpy as np
import torch

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig
from dwp_sweep.stages.network_training import train_network
from dwp_sweep.stages.target import TargetConfig
from dwp_sweep.training.compute import ComputeConfig


def test_a_network_pads_with_the_background_of_what_it_trains_on(tmp_path) -> None:
    unet = UNetConfig(channels=(2, 2, 2, 2))
    config, compute = TargetConfig(max_epochs=1), ComputeConfig(device="cpu")
    for background in (-1.0, 0.0):
        inputs = MethodInputs(unet, LossConfig(), {}, 1, 0, torch.device("cpu"), config.length(1))
        prepared = METHODS["random_init"].prepare(inputs)
        image = np.random.default_rng(0).normal(size=(1, 9, 9, 9)).astype(np.float32)
        case = Case("s", image, (image[0] > 1).astype(np.uint8), background=background)
        checkpoint = tmp_path / f"{background}.safetensors"
        train_network(prepared, [case], [case], config, compute, 0, checkpoint, lambda epoch, metrics: None)

        assert isinstance(prepared.net, UNet3D) and prepared.net.background == background
