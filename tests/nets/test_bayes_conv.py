"""The variational convolution against the plain one and against its moments in closed form."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dwp_sweep.nets.bayes_conv import BayesConv3d, Noise, make_bayesian
from dwp_sweep.nets.unet3d import UNet3D, he_init


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy_layer(noise: Noise, seed: int = 0) -> BayesConv3d:
    """A layer with a variance of its own for each weight, standard deviations from 0.05 to 0.6."""
    layer = BayesConv3d(2, 3, stride=2, noise=noise)
    layer.generator = seeded(seed)
    with torch.no_grad():
        layer.mean.normal_(generator=seeded(1))
        layer.log_var.uniform_(-6, -1, generator=seeded(2))
    return layer


@pytest.mark.parametrize("noise", ["weight", "local"])
@pytest.mark.parametrize("stride", [1, 2])
def test_without_variance_it_is_the_plain_convolution(noise: Noise, stride: int) -> None:
    conv = nn.Conv3d(3, 4, 3, stride, padding=1, bias=False)
    layer = BayesConv3d.from_conv(conv, noise, init_log_var=-float("inf")).train()
    x = torch.randn(2, 3, 6, 7, 8, generator=seeded())
    torch.testing.assert_close(layer(x), conv(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("noise", ["weight", "local"])
def test_both_noise_modes_have_the_mean_and_variance_of_the_closed_form(noise: Noise) -> None:
    layer = noisy_layer(noise).train()
    x = torch.randn(1, 2, 4, 4, 3, generator=seeded(3))
    n = 4000
    with torch.no_grad():
        if noise == "local":
            draws = layer(x.expand(n, -1, -1, -1, -1))
        else:
            draws = torch.cat([layer(x) for _ in range(n)])
        mean = F.conv3d(x, layer.mean, stride=2, padding=1)[0]
        variance = F.conv3d(x.square(), layer.log_var.exp(), stride=2, padding=1)[0]
    assert ((draws.mean(0) - mean).abs() / (variance / n).sqrt()).max() < 5
    assert ((draws.var(0) / variance - 1).abs() / (2 / n) ** 0.5).max() < 5


def test_weight_noise_is_shared_by_the_batch_and_local_noise_is_not() -> None:
    x = torch.randn(1, 2, 4, 4, 4, generator=seeded()).expand(2, -1, -1, -1, -1)
    shared = noisy_layer("weight").train()(x)
    apart = noisy_layer("local").train()(x)
    torch.testing.assert_close(shared[0], shared[1])
    assert not torch.allclose(apart[0], apart[1])


def test_the_kept_sample_is_what_was_convolved_and_carries_the_graph() -> None:
    layer = noisy_layer("weight").train()
    x = torch.randn(1, 2, 4, 4, 4, generator=seeded())
    out = layer(x)
    assert layer.sample is not None
    torch.testing.assert_close(out, F.conv3d(x, layer.sample, stride=2, padding=1))
    layer.sample.sum().backward()
    noise = (layer.sample - layer.mean) / (0.5 * layer.log_var).exp()
    torch.testing.assert_close(layer.mean.grad, torch.ones_like(layer.mean))
    torch.testing.assert_close(
        layer.log_var.grad, 0.5 * noise.detach() * (0.5 * layer.log_var.detach()).exp(), rtol=1e-4, atol=1e-6
    )


def test_local_noise_keeps_no_sample() -> None:
    layer = noisy_layer("local").train()
    layer(torch.randn(1, 2, 4, 4, 4))
    assert layer.sample is None


@pytest.mark.parametrize("noise", ["weight", "local"])
def test_gradients_are_finite_over_a_background_of_zeros(noise: Noise) -> None:
    layer = noisy_layer(noise).train()
    x = torch.zeros(1, 2, 12, 12, 12)
    x[..., 9:] = 1
    x.requires_grad_(True)
    layer(x).square().sum().backward()
    assert all(torch.isfinite(t.grad).all() for t in (x, layer.mean, layer.log_var))
    assert layer.log_var.grad.abs().min() > 0


@pytest.mark.parametrize("noise", ["weight", "local"])
def test_in_evaluation_it_uses_the_mean_unless_sampling_is_asked_for(noise: Noise) -> None:
    layer = noisy_layer(noise).eval()
    x = torch.randn(1, 2, 4, 4, 4, generator=seeded())
    torch.testing.assert_close(layer(x), F.conv3d(x, layer.mean, stride=2, padding=1))
    assert layer.sample is None
    layer.sampling = True
    both = layer(x.expand(2, -1, -1, -1, -1))
    assert not torch.equal(layer(x), layer(x))
    torch.testing.assert_close(both[0], both[1])  # one pass is one network


def test_equal_generators_give_equal_noise_and_leave_the_global_state_alone() -> None:
    x = torch.randn(1, 2, 4, 4, 4, generator=seeded())
    first, second = noisy_layer("weight", seed=7).train(), noisy_layer("weight", seed=7).train()
    before = torch.get_rng_state()
    assert torch.equal(first(x), second(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_layer_can_be_copied_and_pickled_after_a_noisy_pass() -> None:
    layer = noisy_layer("weight").train()
    layer(torch.randn(1, 2, 4, 4, 4))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin.mean, layer.mean) and torch.equal(twin.log_var, layer.log_var)
        assert twin.sample is None and twin.generator is None


def test_a_bayesian_network_has_the_function_of_the_plain_one_at_its_mean() -> None:
    net = UNet3D(channels=(2, 3, 4, 5))
    he_init(net, seeded())
    x = torch.randn(1, 1, 16, 16, 16, generator=seeded(1))
    plain, names = net(x), [name for name, _ in net.named_modules()]
    layers = make_bayesian(net, -7.0, "local", seeded(2))
    assert len(layers) == 19
    assert [module for module in net.modules() if isinstance(module, BayesConv3d)] == list(layers)
    assert [name for name, _ in net.named_modules()] == names
    assert all(m.kernel_size == (1, 1, 1) for m in net.modules() if isinstance(m, nn.Conv3d))
    assert all(layer.log_var.eq(-7).all() and layer.noise == "local" for layer in layers)
    torch.testing.assert_close(net.eval()(x), plain)
    assert not torch.allclose(net.train()(x), plain, atol=1e-3)


def test_he_init_sets_the_means_and_leaves_the_variances() -> None:
    plain, bayesian = UNet3D(channels=(2, 3, 4, 5)), UNet3D(channels=(2, 3, 4, 5))
    make_bayesian(bayesian, -9.0)
    he_init(plain, seeded(4))
    he_init(bayesian, seeded(4))
    x = torch.randn(1, 1, 16, 16, 16, generator=seeded(1))
    torch.testing.assert_close(bayesian.eval()(x), plain(x))
    assert bayesian.down1.conv_1.log_var.eq(-9).all()


@pytest.mark.parametrize(
    "conv",
    [nn.Conv3d(2, 2, 3), nn.Conv3d(2, 2, 3, groups=2, bias=False), nn.Conv3d(2, 2, (3, 3, 1), bias=False)],
)
def test_convolutions_without_a_variational_form_are_refused(conv: nn.Conv3d) -> None:
    with pytest.raises(ValueError, match="no variational form"):
        BayesConv3d.from_conv(conv)


def test_an_unknown_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="'weight' or 'local', not 'both'"):
        BayesConv3d(1, 1, noise="both")  # type: ignore[arg-type]
