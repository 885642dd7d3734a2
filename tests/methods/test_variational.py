"""The posterior that all variational methods share, and the two controls without a kernel prior."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import TrainingSetup
from dwp_sweep.methods.gaussian_prior import GaussianPriorConfig, gaussian_divergence
from dwp_sweep.methods.start import measured_scales
from dwp_sweep.methods.variational import PosteriorConfig, annealing, make_posterior, posterior_metrics
from dwp_sweep.nets.bayes_conv import BayesConv3d
from dwp_sweep.nets.kernel_groups import kernel_layers
from dwp_sweep.nets.net_files import load_net
from dwp_sweep.nets.unet3d import UNet3D, he_init
from dwp_sweep.training.loop import Learner, TrainConfig, TrainingLength, fit, lower_val_loss
from tests.methods.tiny import UNET, Prepare

IMAGES = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
MASKS = (IMAGES[:, 0] > 1).long()
CPU = torch.device("cpu")


def network() -> UNet3D:
    net = UNet3D(1, 2, UNET.channels)
    he_init(net, torch.Generator().manual_seed(1))
    return net


def test_annealing_rises_linearly_from_zero_to_one() -> None:
    assert [annealing(step, 4) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert annealing(0, 0) == 1


@pytest.mark.parametrize(
    ("settings", "n_steps"),
    [
        ({}, 80),
        ({"kl_annealing_steps": 7}, 7),
        ({"kl_annealing_steps": 0}, 0),
        ({"kl_annealing_epochs": 2}, 80),
        ({"kl_annealing_steps": 7, "kl_weight": 0.0}, 0),
    ],
)
def test_epochs_before_the_prior_is_fully_on_are_a_warm_up(
    prepare: Prepare, settings: dict[str, Any], n_steps: int
) -> None:
    for method in ("gaussian_prior", "deep_weight_prior"):
        prepared = prepare(method, length=TrainingLength(10, 40), **settings)
        assert prepared.warm_up == n_steps
    logits = torch.zeros(2, 2, 16, 16, 16)
    for step in {0, n_steps // 2, n_steps}:
        with torch.no_grad():
            terms = prepared.batch_loss(logits, MASKS, step)
        share = 1 if not n_steps else step / n_steps
        weight = settings.get("kl_weight", 1e-5) / 5 * share
        assert float(terms["loss"]) == pytest.approx(float(terms["data_loss"] + weight * terms["bound"]))


def test_in_a_short_training_a_fifth_of_the_steps_are_annealing(prepare: Prepare) -> None:
    assert prepare("gaussian_prior", length=TrainingLength(20, 10)).warm_up == 40
    assert prepare("gaussian_prior", length=TrainingLength(2, 3)).warm_up == 1
    assert prepare("gaussian_prior", length=TrainingLength(1, 1)).warm_up == 0


def test_noise_in_units_of_the_scale_is_the_same_share_of_every_layer() -> None:
    net = network()
    net.get_submodule("down5.conv_2").weight.data *= 1e-3
    config = PosteriorConfig(init_log_var=math.log(0.01), noise_unit="scale")
    groups = make_posterior(net, config, measured_scales(net, "layer"), torch.Generator(), CPU)
    for group in groups:
        for layer in group.layers:
            share = (0.5 * layer.log_var).exp() / layer.mean.square().mean().sqrt()
            assert torch.allclose(share, torch.full_like(share, 0.1), rtol=1e-4)


def test_posterior_metrics_are_deviations_and_their_share_of_the_weights() -> None:
    net = network()
    groups = make_posterior(
        net,
        PosteriorConfig(init_log_var=-8, noise_unit="weight"),
        measured_scales(net, "layer"),
        torch.Generator(),
        CPU,
    )
    metrics = posterior_metrics(groups)
    rms = groups[3].mean().square().mean().sqrt()
    assert metrics["posterior_std_group4"] == pytest.approx(math.exp(-4))
    assert metrics["posterior_std_share_group4"] == pytest.approx(math.exp(-4) / float(rms.detach()))


def log_vars(prepared: TrainingSetup) -> Tensor:
    layers = [layer for layer in prepared.net.modules() if isinstance(layer, BayesConv3d)]
    return torch.cat([layer.log_var.detach().flatten() for layer in layers])


def test_by_the_divergence_alone_the_variance_becomes_the_priors(prepare: Prepare) -> None:
    """The closed form: ``KL(N(m, v) || N(0, u ** 2))`` is smallest at ``v = u ** 2``, whatever m is."""
    prepared = prepare("gaussian_prior", init_log_var=-4, kl_annealing_steps=0)
    before = log_vars(prepared)
    optimizer = torch.optim.Adam(prepared.param_groups, lr=1e-3)
    says_nothing = torch.zeros(2, 2, 16, 16, 16)
    for step in range(1500):
        optimizer.zero_grad()
        prepared.batch_loss(says_nothing, MASKS, step)["loss"].backward()
        optimizer.step()
    # The unit is the layer's root mean square at the start, and the noise began at exp(-4) of its square.
    torch.testing.assert_close(log_vars(prepared), before + 4, atol=0.05, rtol=0)
    distances = [prepared.diagnostics()[f"log_var_distance_group{group}"] for group in range(1, 8)]
    assert distances == pytest.approx([4] * 7, abs=0.05)


def test_the_rates_of_weights_and_log_variances_fall_together(prepare: Prepare, tmp_path: Path) -> None:
    prepared = prepare("gaussian_prior", log_var_lr=0.02)
    names = ("weights", "log_vars")
    assert [group.get("lr") for group in prepared.param_groups] == [None, 0.02]

    def batch_loss(indices: Tensor, step: int) -> dict[str, Tensor]:
        return prepared.batch_loss(prepared.net(IMAGES), MASKS, step)

    learner = Learner(
        prepared.state, prepared.param_groups, batch_loss, lambda: {"val_loss": 1.0}, lower_val_loss,
        noise=prepared.noise,
    )  # fmt: skip
    config = TrainConfig(max_epochs=4, patience=0, factor=0.5)
    fit(learner, config, 2, 0, tmp_path / "checkpoint.safetensors", lambda epoch, metrics: None)
    rates = dict(zip(names, (group["lr"] for group in prepared.param_groups), strict=True))
    assert rates == pytest.approx({"weights": 1e-3 / 8, "log_vars": 0.02 / 8})


def test_noise_without_a_prior_keeps_its_variance_and_still_learns(prepare: Prepare) -> None:
    prepared = prepare("noise_only", init_log_var=-6, noise_unit="weight")
    optimizer = torch.optim.Adam(prepared.param_groups, lr=1e-2)
    means = {name: p.detach().clone() for name, p in prepared.net.named_parameters() if name.endswith("mean")}
    for step in range(3):
        optimizer.zero_grad()
        prepared.batch_loss(prepared.net(IMAGES), MASKS, step)["loss"].backward()
        optimizer.step()
    for name, parameter in prepared.net.named_parameters():
        if name.endswith("log_var"):
            assert (parameter == -6).all()
        elif name in means:
            assert not torch.equal(parameter, means[name])


def test_the_gaussian_divergence_is_the_one_that_torch_knows(prepare: Prepare) -> None:
    net = network()
    generator = torch.Generator().manual_seed(2)
    groups = make_posterior(net, PosteriorConfig(), measured_scales(net, "filter"), generator, CPU)
    for group in groups:
        for layer in group.layers:
            layer.log_var.data.uniform_(-8, 0, generator=generator)
    for group in groups:
        posterior = Normal(group.mean(), (0.5 * group.log_var()).exp())
        prior = Normal(torch.zeros(1), group.scale.expand(-1, 27))
        expected = kl_divergence(posterior, prior).sum()
        assert torch.allclose(gaussian_divergence(groups)[group.number], expected, rtol=1e-4)


def test_a_gaussian_prior_takes_its_variance_from_the_bank_or_from_the_start(prepare: Prepare) -> None:
    """The bank holds the source network alone, so for a start from it both are the same number."""
    nats = []
    for scale in ("start", "source"):
        prepared = prepare("gaussian_prior", init="source", scale=scale)
        nats.append(prepared.batch_loss(prepared.net(IMAGES), MASKS, 0)["bound"])
    assert torch.allclose(*nats, rtol=1e-4)
    needs = METHODS["gaussian_prior"].needs
    assert needs({"gaussian_prior": GaussianPriorConfig(scale="source", init="source")}) == ("source", "bank")
    assert needs({"gaussian_prior": GaussianPriorConfig()}) == ()


@pytest.mark.parametrize("standardise", ["group", "layer", "filter"])
def test_kernels_over_their_measured_unit_have_unit_mean_square(standardise: str) -> None:
    net = network()
    scales = measured_scales(net, standardise)  # type: ignore[arg-type]
    for layer in kernel_layers(net):
        weight = net.get_submodule(layer.name).weight.detach()
        units = scales[layer.name].view(len(weight), -1)
        by_filter = (weight.flatten(1) / units.repeat_interleave(27, dim=1)).square().mean(dim=1)
        if standardise == "filter":
            assert torch.allclose(by_filter, torch.ones(len(weight)), rtol=1e-3)
        if standardise == "layer":
            assert float(by_filter.mean()) == pytest.approx(1, rel=1e-3)
        if standardise == "group":
            peers = [other.name for other in kernel_layers(net) if other.group == layer.group]
            assert all(torch.equal(scales[name][0], scales[layer.name][0]) for name in peers)


def test_l2_sp_is_fine_tuning_plus_the_squared_distance_from_the_start(prepare: Prepare) -> None:
    prepared = prepare("l2_sp", weight=0.5)
    with torch.no_grad():
        start = prepared.batch_loss(prepared.net(IMAGES), MASKS, 0)
        assert float(start["distance"]) == 0
        for parameter in prepared.net.parameters():
            parameter.add_(0.01)
        moved = prepared.batch_loss(prepared.net(IMAGES), MASKS, 1)
    count = sum(parameter.numel() for parameter in prepared.net.parameters())
    assert float(moved["distance"]) == pytest.approx(count * 1e-4, rel=1e-3)
    assert torch.allclose(moved["loss"], moved["data_loss"] + 0.25 * moved["distance"])


@pytest.mark.parametrize("name", ["fine_tune", "noise_only", "deep_weight_prior"])
def test_rates_follow_the_scale_of_shrunken_layers_only(
    prepare: Prepare, upstream: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shrunken = load_net(upstream / "source")
    shrunken.get_submodule("down6.conv_2").weight.data *= 0.01
    share = float(shrunken.get_submodule("down6.conv_2").weight.detach().square().mean().sqrt())
    share /= (2 / (27 * UNET.channels[3])) ** 0.5
    monkeypatch.setattr("dwp_sweep.methods.start.load_net", lambda folder: shrunken)
    settings = {} if name == "fine_tune" else {"init": "source"}
    prepared = prepare(name, lr_by_scale=True, **settings)
    assert "lr" not in prepared.param_groups[0]  # the schedule reads the full rate there
    slow = [group for group in prepared.param_groups[1:] if "lr" in group and "weight_decay" not in group]
    layer = prepared.net.get_submodule("down6.conv_2")
    small = layer.mean if isinstance(layer, BayesConv3d) else layer.weight
    assert [id(parameter) for group in slow for parameter in group["params"]] == [id(small)]
    assert slow[0]["lr"] == pytest.approx(1e-3 * share, rel=1e-4)
    grouped = [id(p) for group in prepared.param_groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
