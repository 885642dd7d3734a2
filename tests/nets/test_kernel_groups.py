"""Every 3x3x3 kernel of the U-Net is in exactly one of seven groups."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from dwp_sweep.nets.bayes_conv import BayesConv3d, make_bayesian
from dwp_sweep.nets.kernel_groups import GROUPS, as_kernels, extract_kernels, kernel_layers
from dwp_sweep.nets.unet3d import UNet3D

KERNELS_OF_GROUP = {1: 528, 2: 4_096, 3: 5_120, 4: 12_288, 5: 2_048, 6: 2_048, 7: 512}
LAYERS = {"init_conv"} | {
    f"{block}.{conv}"
    for block in ("down1", "down2", "down3", "down4", "down5", "down6", "up1", "up2", "up3")
    for conv in ("conv_1", "conv_2")
}


@pytest.mark.parametrize("bayesian", [False, True])
def test_groups_hold_the_kernels_of_the_table_and_26640_in_all(bayesian: bool) -> None:
    net = UNet3D()
    if bayesian:
        make_bayesian(net)
    counts: Counter[int] = Counter()
    for layer in kernel_layers(net):
        counts[layer.group] += layer.n_kernels
    assert dict(counts) == KERNELS_OF_GROUP
    assert sum(counts.values()) == 26_640


def test_every_3x3x3_convolution_is_in_exactly_one_group() -> None:
    net = UNet3D(channels=(2, 3, 4, 5))
    names = Counter(layer.name for layer in kernel_layers(net))
    assert names == Counter(LAYERS)
    held = sum(len(kernels) * 27 for group in GROUPS for _, kernels in extract_kernels(net, group))
    others = sum(p.numel() for p in net.parameters() if p.shape[2:] == (1, 1, 1))
    assert held + others == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("conv", [nn.Conv3d(2, 2, 3), BayesConv3d(2, 2)])
def test_a_convolution_without_group_is_named(conv: nn.Module) -> None:
    net = UNet3D(channels=(2, 2, 2, 2))
    net.down2.extra = conv
    with pytest.raises(ValueError, match=r"'down2\.extra' belongs to no kernel group"):
        kernel_layers(net)


def test_extracted_kernels_are_the_filters_in_depth_height_width_order() -> None:
    net = UNet3D(channels=(2, 3, 4, 5))
    name, kernels = extract_kernels(net, 2)[0]
    weight = net.down1.conv_2.weight
    assert name == "down1.conv_2"
    assert kernels.shape == (9, 27) and not kernels.requires_grad
    assert torch.equal(kernels[1 * 3 + 2].view(3, 3, 3), weight[1, 2])
    assert kernels[1 * 3 + 2, 9 * 0 + 3 * 1 + 2] == weight[1, 2, 0, 1, 2]


def test_kernels_of_a_bayesian_network_are_its_means() -> None:
    net = UNet3D(channels=(2, 3, 4, 5))
    before = [kernels.clone() for group in GROUPS for _, kernels in extract_kernels(net, group)]
    make_bayesian(net)
    after = [kernels for group in GROUPS for _, kernels in extract_kernels(net, group)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_kernels_keep_the_graph_of_their_weights() -> None:
    weight = torch.randn(2, 3, 3, 3, 3, requires_grad=True)
    as_kernels(weight)[4].sum().backward()
    assert weight.grad is not None and weight.grad[1, 1].eq(1).all() and weight.grad.sum() == 27


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match="one of"):
        extract_kernels(UNet3D(), 8)
