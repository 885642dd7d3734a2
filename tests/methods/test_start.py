"""Rescaling keeps the function and brings the filters to He norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dwp_sweep.methods.start import Rescaled, rescale_invariant
from dwp_sweep.nets.bayes_conv import make_bayesian
from dwp_sweep.nets.kernel_groups import kernel_layers
from dwp_sweep.nets.unet3d import UNet3D, he_init

BLOCKS = ("down1", "down2", "down3", "down4", "down5", "down6", "up1", "up2", "up3")


def shrunken_net() -> UNet3D:
    """A network whose invariant filters differ in scale, as weight decay leaves them: norms 0.14 to 1.4."""
    net = UNet3D(channels=(4, 6, 8, 10))
    generator = torch.Generator().manual_seed(0)
    he_init(net, generator)
    for block in BLOCKS:
        weight = net.get_submodule(f"{block}.conv_1").weight
        weight.data *= 0.1 + 0.9 * torch.rand(len(weight), 1, 1, 1, 1, generator=generator)
    return net.eval()


@torch.no_grad()
def predict(net: nn.Module) -> Tensor:
    volume = torch.randn(1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(1))
    logits: Tensor = net(volume)
    return logits


def invariant_filters(net: nn.Module) -> Tensor:
    return torch.cat([net.get_submodule(f"{block}.conv_1").weight.flatten(1).norm(dim=1) for block in BLOCKS])


def test_the_invariant_layers_of_the_default_network_hold_12032_kernels() -> None:
    layers = [layer for layer in kernel_layers(UNet3D()) if layer.name.endswith(".conv_1")]
    assert [layer.name for layer in layers] == [f"{block}.conv_1" for block in BLOCKS]
    assert sum(layer.n_kernels for layer in layers) == 12_032


def test_rescaling_brings_every_invariant_filter_to_the_norm_of_he_and_keeps_the_function() -> None:
    net = shrunken_net()
    before, others = predict(net), net.down3.conv_2.weight.clone()
    result = rescale_invariant(net)
    norms = invariant_filters(net)
    assert result == Rescaled(n_rescaled=len(norms), n_left=0)
    torch.testing.assert_close(norms, torch.full_like(norms, 2**0.5))
    assert torch.equal(net.down3.conv_2.weight, others)
    assert float((predict(net) - before).abs().max() / before.std()) < 5e-3


def test_the_function_is_kept_to_rounding_where_epsilon_plays_no_part() -> None:
    net = UNet3D(channels=(4, 6, 8, 10)).eval()
    he_init(net, torch.Generator().manual_seed(0))
    for block in BLOCKS:
        net.get_submodule(f"{block}.conv_1").weight.data *= 3
    before = predict(net)
    rescale_invariant(net)
    assert float((predict(net) - before).abs().max() / before.std()) < 1e-3


def test_filters_switched_off_by_weight_decay_are_left_alone_and_counted() -> None:
    net = shrunken_net()
    net.down6.conv_1.weight.data[:3] *= 1e-4
    dead, before = net.down6.conv_1.weight[:3].clone(), predict(net)
    result = rescale_invariant(net)
    assert (result.n_left, result.n_rescaled) == (3, len(invariant_filters(net)) - 3)
    assert torch.equal(net.down6.conv_1.weight[:3], dead)
    assert float((predict(net) - before).abs().max() / before.std()) < 5e-3


def test_a_filter_of_zeros_stays_zero() -> None:
    net = shrunken_net()
    net.up2.conv_1.weight.data.zero_()
    rescale_invariant(net)
    assert net.up2.conv_1.weight.eq(0).all()


def test_mean_and_deviation_of_a_variational_layer_are_rescaled_together() -> None:
    net = shrunken_net()
    layers = make_bayesian(net, -8.0)
    ratio_before = [(0.5 * layer.log_var).exp() / layer.mean for layer in layers]
    before = predict(net)
    rescale_invariant(net)
    for layer, ratio in zip(layers, ratio_before, strict=True):
        torch.testing.assert_close((0.5 * layer.log_var).exp() / layer.mean, ratio, rtol=1e-4, atol=1e-4)
    assert float((predict(net) - before).abs().max() / before.std()) < 5e-3
