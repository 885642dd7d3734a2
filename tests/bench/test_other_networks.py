"""The networks that ours is compared with are the same network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from dwp_sweep.bench.other_networks import monai_network, plain_network
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig, he_init

BUILDS = [plain_network, monai_network]


@pytest.mark.parametrize("build", BUILDS)
def test_they_have_the_parameter_count_of_the_paper(build: Callable[[UNetConfig], nn.Module]) -> None:
    assert sum(p.numel() for p in build(UNetConfig()).parameters()) == 726_480


@pytest.mark.parametrize("build", BUILDS)
def test_they_compute_what_ours_computes(build: Callable[[UNetConfig], nn.Module]) -> None:
    config = UNetConfig(channels=(3, 4, 5, 6))
    ours, theirs = UNet3D(channels=config.channels), build(config)
    he_init(ours, torch.Generator().manual_seed(0))
    weights = [
        p for name, p in ours.named_parameters() if not name.endswith(("down.weight", "upsample.weight"))
    ]
    others = [p for p in theirs.parameters() if p.shape[2] == 3 or p.shape[0] == config.n_classes]
    by_name = {"down": ".down.weight", "upsample": ".upsample.weight"}
    points = [p for n, p in ours.named_parameters() if n.endswith(tuple(by_name.values()))]
    their_points = [p for p in theirs.parameters() if p.shape[2] == 1 and p.shape[0] != config.n_classes]
    for mine, other in zip([*weights, *points], [*others, *their_points], strict=True):
        other.data.copy_(mine.data)
    x = torch.randn(2, 1, 16, 24, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(theirs(x), ours(x), rtol=1e-4, atol=1e-4)
