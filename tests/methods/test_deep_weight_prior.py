"""Algorithm 1: what the objective is made of, who learns, and how the posterior starts."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dwp_sweep.errors import DivergedError, InputError
from dwp_sweep.losses.kernel_bound import prior_cost
from dwp_sweep.losses.segmentation import LossConfig, segmentation_loss
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs, Surroundings, TrainingSetup
from dwp_sweep.methods.deep_weight_prior import DwpConfig, _fraction, needs
from dwp_sweep.methods.start import measured_scales
from dwp_sweep.nets.bayes_conv import BayesConv3d
from dwp_sweep.nets.kernel_bank import Standardise, collect_bank
from dwp_sweep.nets.kernel_groups import GROUPS, as_kernels, kernel_layers
from dwp_sweep.nets.kernel_mixture import KernelMixture
from dwp_sweep.nets.kernel_prior import KernelPrior, load_prior, save_prior
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.net_files import load_net, save_net
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig, he_init
from dwp_sweep.training.compute import named_generator
from dwp_sweep.training.loop import Learner, TrainConfig, TrainingLength, fit, lower_val_loss
from tests.methods.tiny import UNET, Prepare

IMAGES = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
MASKS = (IMAGES[:, 0] > 1).long()


def test_the_loss_is_the_data_term_plus_the_weighted_bound_over_the_training_images(prepare: Prepare) -> None:
    prepared = prepare("deep_weight_prior", n_train=4, kl_weight=0.01, kl_annealing_steps=10)
    logits = prepared.net(IMAGES)
    terms = prepared.batch_loss(logits, MASKS, 5)
    data = segmentation_loss(logits, MASKS, LossConfig()).loss
    assert torch.allclose(terms["data_loss"], data)
    assert torch.allclose(terms["loss"], data + 0.01 / 4 * 0.5 * terms["bound"])


def test_exact_bayes_takes_the_cross_entropy_summed_over_voxels(prepare: Prepare) -> None:
    prepared = prepare("deep_weight_prior", likelihood="ce")
    logits = prepared.net(IMAGES).detach()
    log_probs = logits.log_softmax(1).gather(1, MASKS.unsqueeze(1))
    per_image = -log_probs.flatten(1).sum(1)
    assert torch.allclose(prepared.data_loss(logits, MASKS), per_image.mean(), rtol=1e-4)


def test_posterior_and_encoders_learn_and_decoders_do_not(prepare: Prepare) -> None:
    prepared = prepare("deep_weight_prior", kl_weight=1.0, kl_annealing_steps=0, kl_fraction=1)
    prepared.batch_loss(prepared.net(IMAGES), MASKS, 0)["loss"].backward()
    for layer in prepared.net.modules():
        if isinstance(layer, BayesConv3d):
            assert layer.mean.grad is not None and layer.log_var.grad is not None
            assert layer.log_var.grad.abs().sum() > 0
    for vae in prepared.state["priors"].values():  # type: ignore[index]
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.latent_mean.parameters())
        assert all(p.grad is None and not p.requires_grad for p in vae.decoder_parameters())


def test_a_part_of_the_kernels_estimates_the_whole_bound_without_bias(prepare: Prepare) -> None:
    whole = prepare("deep_weight_prior", kl_fraction=1)
    part = prepare("deep_weight_prior", kl_fraction=0.2)
    values = {}
    for name, prepared in (("whole", whole), ("part", part)):
        with torch.no_grad():
            draws = []
            for _ in range(100):
                logits = prepared.net(IMAGES[:1, :, :8, :8])
                draws.append(prepared.batch_loss(logits, MASKS[:1, :8, :8], 0)["bound"])
            values[name] = torch.stack(draws).double()
    error = math.sqrt(sum(float(value.var()) / len(value) for value in values.values()))
    assert abs(float(values["whole"].mean() - values["part"].mean())) < 4 * error
    assert values["part"].std() > values["whole"].std()


def test_by_default_a_twentieth_of_an_autoencoders_kernels_is_scored_and_all_of_a_mixtures() -> None:
    assert _fraction(DwpConfig(), KernelVAE()) == 0.05
    assert _fraction(DwpConfig(), KernelMixture(torch.ones(1), torch.zeros(1, 27), torch.eye(27)[None])) == 1
    assert _fraction(DwpConfig(kl_fraction=0.3), KernelVAE()) == 0.3


def test_closed_and_sampled_bounds_agree_in_expectation(prepare: Prepare) -> None:
    values = {}
    for bound in ("closed", "sampled"):
        prepared = prepare("deep_weight_prior", bound=bound, noise="local", kl_fraction=1)
        prepared.net(IMAGES[:1, :, :8, :8])
        with torch.no_grad():
            logits = torch.zeros(1, 2, 8, 8, 16)
            draws = [prepared.batch_loss(logits, MASKS[:1, :8, :8], 0)["bound"] for _ in range(120)]
        values[bound] = torch.stack(draws).double()
    error = math.sqrt(sum(float(value.var()) / len(value) for value in values.values()))
    assert abs(float(values["closed"].mean() - values["sampled"].mean())) < 4 * error


def test_a_posterior_started_from_the_source_has_its_weights_as_mean(
    prepare: Prepare, upstream: Path
) -> None:
    prepared = prepare("deep_weight_prior", init="source")
    source = load_net(upstream / "source")
    prepared.net.eval()
    with torch.no_grad():
        assert torch.allclose(prepared.net(IMAGES), source(IMAGES), atol=1e-5)


def test_a_posterior_started_from_the_prior_is_its_draws_in_units_of_a_he_start(
    prepare: Prepare, upstream: Path
) -> None:
    """The first layer's kernels are the first draws: told again from the same generator."""
    net = prepare("deep_weight_prior", init="prior").net
    he = prepare("deep_weight_prior", init="he").net
    first = kernel_layers(net)[0]
    prior = load_prior(upstream / f"group{first.group}")
    draws = prior.sample_standardised(first.n_kernels, named_generator(0, "prior_samples"))
    unit = he.get_submodule(first.name).mean.detach().square().mean().sqrt()
    mean = net.get_submodule(first.name).mean.detach()
    assert torch.allclose(mean.view(-1, 27), draws * unit, rtol=1e-4, atol=1e-6)


def test_a_group_without_a_prior_is_refused_and_its_layers_named(prepare: Prepare) -> None:
    with pytest.raises(ValueError, match=r"no kernel prior for group \[7\].*up3\.conv_1"):
        prepare("deep_weight_prior", groups=GROUPS[:-1])


def test_every_kernel_of_the_network_is_scored_once(prepare: Prepare) -> None:
    """With one image's gradient switched off, the bound alone moves every 3x3x3 mean."""
    prepared = prepare("deep_weight_prior", kl_fraction=1)
    prepared.net(IMAGES[:1, :, :8, :8])
    terms = prepared.batch_loss(torch.zeros(1, 2, 8, 8, 16), MASKS[:1, :8, :8], 0)
    terms["bound"].backward()
    net = UNet3D(1, 2, UNET.channels)
    for layer in kernel_layers(net):
        gradient = prepared.net.get_submodule(layer.name).mean.grad
        assert gradient is not None and (gradient.flatten(2).abs().sum(2) > 0).all(), layer.name


def test_weight_decay_leaves_log_variances_and_encoders_alone(prepare: Prepare) -> None:
    prepared = prepare("deep_weight_prior")
    net = prepared.net
    decayed = {
        id(parameter)
        for group in prepared.param_groups
        if group.get("weight_decay") != 0.0
        for parameter in group["params"]
    }
    log_vars = {id(layer.log_var) for layer in net.modules() if isinstance(layer, BayesConv3d)}
    assert decayed == {id(parameter) for parameter in net.parameters()} - log_vars


def standardised_means(prepare: Prepare, **settings: object) -> dict[str, torch.Tensor]:
    """What the bound's encoder would see of the posterior means at the start, by group."""
    seen: dict[str, torch.Tensor] = {}
    prepared = prepare("deep_weight_prior", kl_fraction=1, **settings)
    for name, model in prepared.state["priors"].items():  # type: ignore[index]
        original = model.encode

        def encode(x: torch.Tensor, name: str = name, original: object = original) -> object:
            seen[name] = x.detach()
            return original(x)  # type: ignore[operator]

        model.encode = encode
    prepared.net(IMAGES[:1])
    prepared.batch_loss(torch.zeros(1, 2, 16, 16, 16), MASKS[:1], 0)
    return seen


def test_rescaling_a_source_start_leaves_its_standardised_kernels_as_they_were(prepare: Prepare) -> None:
    plain, rescaled = (
        standardised_means(prepare, init="source", rescale=rescale, init_log_var=-30)
        for rescale in (False, True)
    )
    for name, kernels in plain.items():
        assert torch.allclose(rescaled[name], kernels, atol=2e-4, rtol=1e-3)


def test_the_unit_of_a_he_start_is_the_layers_own_deviation(prepare: Prepare) -> None:
    for kernels in standardised_means(prepare, init="he", init_log_var=-30).values():
        assert float(kernels.square().mean().sqrt()) == pytest.approx(1, abs=1e-3)


def test_the_unit_may_be_that_of_the_source_networks(prepare: Prepare) -> None:
    by_start, by_source = (
        standardised_means(prepare, init="source", scale=scale, init_log_var=-30)["group3"]
        for scale in ("start", "source")
    )
    net = prepare("fine_tune").net
    layers = [layer for layer in kernel_layers(net) if layer.group == 3]
    rms = [net.get_submodule(layer.name).weight.detach().square().mean().sqrt() for layer in layers]
    per_kernel = torch.cat([unit.expand(layer.n_kernels) for unit, layer in zip(rms, layers, strict=True)])
    torch.testing.assert_close(
        by_source / by_start, (per_kernel / 0.15)[:, None].expand(-1, 27), rtol=2e-2, atol=0
    )


@pytest.mark.parametrize(
    ("standardise", "init", "scale"),
    [
        *((standardise, "source", "start") for standardise in ("none", "group", "layer", "filter")),
        *((standardise, "he", "start") for standardise in ("none", "layer", "filter")),
        *((standardise, "he", "source") for standardise in ("none", "group", "layer")),
        *((standardise, "source", "source") for standardise in ("none", "group", "layer")),
    ],
)
def test_a_source_kernel_costs_the_nats_of_its_fit_as_it_enters(
    tmp_path: Path, standardise: Standardise, init: str, scale: str
) -> None:
    source = uneven_network()
    save_net(source, UNET, tmp_path / "source")
    bank = collect_bank({(0, 0): source})
    priors = []
    for group, held in bank.groups.items():
        scales = bank.scales(group, standardise)
        priors.append(KernelPrior(group, KernelVAE(latent_dim=2), scales, standardise, held.channels))
        save_prior(priors[-1], tmp_path / f"group{group}")

    def prepare(name: str, **settings: Any) -> TrainingSetup:
        folders = tuple(tmp_path / f"group{prior.group}" for prior in priors)
        given = {"dwp": DwpConfig(init=init, scale=scale, init_log_var=-30, **settings)}  # type: ignore[arg-type]
        prepared = METHODS[name].prepare(
            MethodInputs(
                UNET, LossConfig(), given, 5, 0, torch.device("cpu"), TrainingLength(9, 9),
                source=tmp_path / "source", priors=folders,
            )
        )  # fmt: skip
        enter(source, prepared.net, "none" if init == "source" or scale == "source" else standardise)
        return prepared

    entered = standardised_means(prepare)
    for prior in priors:
        fitted = bank.groups[prior.group].kernels / bank.kernel_scales(prior.group, standardise)
        costs = [
            prior_cost(kernels, prior.model, torch.Generator().manual_seed(0)).detach()
            for kernels in (fitted, entered[f"group{prior.group}"])
        ]
        torch.testing.assert_close(costs[1], costs[0], rtol=1e-3, atol=1e-3)


def uneven_network() -> UNet3D:
    """Layers and filters of many sizes, as weight decay leaves them."""
    net, generator = UNet3D(1, 2, UNET.channels), torch.Generator().manual_seed(8)
    he_init(net, generator)
    for layer in kernel_layers(net):
        weight = net.get_submodule(layer.name).weight
        sizes = torch.rand(len(weight), 1, 1, 1, 1, generator=generator) + 0.5
        weight.data *= sizes * (0.2 + torch.rand(1, generator=generator))
    return net


def enter(source: UNet3D, net: nn.Module, brought: Standardise) -> None:
    """Put the source's kernels in the place of the means, each layer or filter in the size of the start."""
    start, raw = measured_scales(net, brought), measured_scales(source, brought)
    for layer in kernel_layers(source):
        convolution = net.get_submodule(layer.name)
        kernels = as_kernels(source.get_submodule(layer.name).weight.detach())
        convolution.mean.data = (kernels * start[layer.name] / raw[layer.name]).view_as(convolution.mean)


def test_units_that_the_start_does_not_have_are_refused(upstream: Path) -> None:
    around = {
        name: Surroundings(TrainingLength(9, 99), name) for name in ("none", "group", "layer", "filter")
    }

    def refused(method: str, standardise: Standardise, **settings: Any) -> str:
        ((section, model),) = METHODS[method].sections.items()
        if method == "gaussian_prior":
            settings["standardise"] = standardise
        return "; ".join(map(str, METHODS[method].misfits({section: model(**settings)}, around[standardise])))

    for method, key in (("deep_weight_prior", "prior"), ("gaussian_prior", "gaussian_prior")):
        assert f"scale: start: {key}.standardise group keeps" in refused(method, "group", init="he")
        assert f"scale: source: {key}.standardise filter" in refused(method, "filter", scale="source")
        assert not refused(method, "group", init="source") and not refused(method, "layer")
    assert "dwp.scale: start" in refused("deep_weight_prior", "group", init="prior")


def test_imported_priors_by_group_do_not_fit_a_new_network(
    upstream: Path, prepare: Prepare, tmp_path: Path
) -> None:
    shutil.copytree(upstream, tmp_path / "priors")
    path = tmp_path / "priors" / "group3" / "prior.json"
    path.write_text(path.read_text().replace('"layer"', '"group"'))
    with pytest.raises(InputError, match=r"dwp\.scale: start: prior\.standardise group .*layer"):
        prepare("deep_weight_prior", folder=tmp_path / "priors")
    prepare("deep_weight_prior", folder=tmp_path / "priors", init="source")


def test_the_share_of_kernels_that_left_is_a_twentieth_for_draws_of_the_prior_itself(
    prepare: Prepare,
) -> None:
    prepared = prepare("deep_weight_prior", init="prior", unet=UNetConfig(channels=(8, 8, 12, 16)))
    shares = [value for name, value in prepared.diagnostics().items() if name.startswith("left_prior")]
    assert len(shares) == 7
    assert sum(shares) / 7 == pytest.approx(0.05, abs=0.04)
    far = prepare("deep_weight_prior", init="prior", unet=UNetConfig(channels=(8, 8, 12, 16)))
    for layer in far.net.modules():
        if isinstance(layer, BayesConv3d):
            layer.mean.data *= 30
    assert all(v > 0.9 for name, v in far.diagnostics().items() if name.startswith("left_prior"))


def test_only_a_source_start_needs_the_source_network() -> None:
    assert needs({"dwp": DwpConfig(init="source")}) == ("priors", "source")
    assert needs({"dwp": DwpConfig(init="prior")}) == ("priors",)


def test_a_bound_that_is_not_finite_is_told_by_group_step_and_last_value(
    prepare: Prepare, tmp_path: Path
) -> None:
    prepared = prepare("deep_weight_prior", kl_fraction=1)
    layer = next(one for one in kernel_layers(prepared.net) if one.group == 4)

    def batch_loss(indices: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        logits = prepared.net(IMAGES)
        if step == 3:
            prepared.net.get_submodule(layer.name).sample.data.fill_(float("inf"))  # type: ignore[union-attr]
        return prepared.batch_loss(logits, MASKS, step)

    learner = Learner(
        prepared.state, prepared.param_groups, batch_loss, lambda: {"val_loss": 0.0}, lower_val_loss,
        prepared.noise,
    )  # fmt: skip
    with pytest.raises(
        DivergedError, match=r"bound_per_kernel_group4 became \w+ in step 3.*last finite value was"
    ):
        fit(learner, TrainConfig(steps_per_epoch=2), 2, 0, tmp_path / "checkpoint", lambda *_: None)
