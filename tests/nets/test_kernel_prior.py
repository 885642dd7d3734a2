"""A prior's samples, scales and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dwp_sweep.nets.bayes_conv import make_bayesian
from dwp_sweep.nets.kernel_bank import kernel_channels
from dwp_sweep.nets.kernel_mixture import KernelMixture
from dwp_sweep.nets.kernel_prior import KernelPrior, load_prior, require_fit, save_prior
from dwp_sweep.nets.kernel_vae import Head, KernelVAE
from dwp_sweep.nets.unet3d import UNet3D

SCALE = {"up3.conv_1": 0.2, "up3.conv_2": 0.01}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prior(head: Head = "free") -> KernelPrior:
    torch.manual_seed(0)
    return KernelPrior(7, KernelVAE(4, head, -3.0), SCALE)


def constant_prior() -> KernelPrior:
    """Its decoder says mean 3, log-variance 0, whatever ``z`` is."""
    made = prior()
    with torch.no_grad():
        for head, value in ((made.model.kernel_mean, 3.0), (made.model.kernel_log_var, 0.0)):
            head.weight.zero_()
            head.bias.fill_(value)
    return made


@pytest.mark.parametrize("layer", list(SCALE))
def test_samples_have_the_moments_of_the_decoder_in_units_of_the_layer(layer: str) -> None:
    samples = constant_prior().sample(4000, seeded(), layer) / SCALE[layer]
    assert samples.shape == (4000, 27)
    assert float(samples.mean()) == pytest.approx(3, abs=0.02)
    assert float(samples.var()) == pytest.approx(
        1, abs=0.06
    )  # the floor adds a little to a log-variance of 0


def test_samples_without_a_layer_mix_the_scales_of_all_layers() -> None:
    size = constant_prior().sample(2000, seeded()).mean(1)
    large = size > 0.1
    assert 0.4 < float(large.float().mean()) < 0.6
    assert float(size[large].mean()) == pytest.approx(0.6, rel=0.05)
    assert float(size[~large].mean()) == pytest.approx(0.03, rel=0.05)


def test_loading_does_not_move_the_global_random_state(tmp_path: Path) -> None:
    save_prior(prior(), tmp_path)
    before = torch.get_rng_state()
    load_prior(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_equal_generators_give_equal_samples() -> None:
    made = prior()
    assert torch.equal(made.sample(5, seeded(3)), made.sample(5, seeded(3)))
    assert not torch.equal(made.sample(5, seeded(3)), made.sample(5, seeded(4)))


def test_without_a_generator_samples_follow_torchs_own_seed() -> None:
    made = prior()
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(made.sample(5))
    assert drawn[0].shape == (5, 27)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("head", ["free", "tanh"])
def test_a_prior_comes_back_from_its_files_as_it_was(tmp_path: Path, head: Head) -> None:
    made = prior(head)
    save_prior(made, tmp_path)
    back = load_prior(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"prior.safetensors", "prior.json"}
    assert (back.group, dict(back.scale)) == (7, SCALE)
    assert (back.model.latent_dim, back.model.head, back.model.log_var_floor) == (4, head, -3.0)
    assert torch.equal(back.sample(9, seeded()), made.sample(9, seeded()))
    assert not back.model.training


def test_an_unknown_layer_is_named_with_those_known() -> None:
    with pytest.raises(
        ValueError, match=r"group 7 has no layer 'up2\.conv_1', only up3\.conv_1, up3\.conv_2"
    ):
        prior().scale_of("up2.conv_1")


@pytest.mark.parametrize("scale", [{}, {"a": 0.0}, {"a": float("nan")}, {"a": float("inf")}])
def test_scales_must_be_positive_and_finite(scale: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive, finite scale"):
        KernelPrior(1, KernelVAE(), scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_dim": 5}, "do not fit"),
        ({"latent_dim": "many"}, "describes no prior"),
        ({"head": "relu"}, "describes no prior"),
        ({"scale": 3}, "describes no prior"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    save_prior(prior(), tmp_path)
    facts = json.loads((tmp_path / "prior.json").read_text())
    (tmp_path / "prior.json").write_text(json.dumps(facts | change))
    with pytest.raises(ValueError, match=message) as caught:
        load_prior(tmp_path)
    assert str(tmp_path / "prior.") in str(caught.value)


def mixture_prior() -> KernelPrior:
    roots = torch.randn(3, 27, 27, generator=seeded()).triu(1) * 0.1 + torch.eye(27)
    model = KernelMixture(torch.tensor([0.2, 0.3, 0.5]), torch.randn(3, 27, generator=seeded(1)), roots)
    return KernelPrior(7, model, SCALE, "filter", {"up3.conv_1": (16, 16), "up3.conv_2": (16, 16)})


def test_a_mixture_comes_back_from_its_files_as_it_was(tmp_path: Path) -> None:
    made = mixture_prior()
    save_prior(made, tmp_path)
    back = load_prior(tmp_path)
    assert (back.standardise, back.channels, back.scale) == (made.standardise, made.channels, made.scale)
    x = torch.randn(5, 27, generator=seeded(2))
    assert isinstance(back.model, KernelMixture) and isinstance(made.model, KernelMixture)
    assert torch.equal(back.model.log_density(x), made.model.log_density(x))
    assert torch.equal(back.sample(9, seeded()), made.sample(9, seeded()))


def test_raw_samples_are_standardised_samples_in_units_of_the_layer() -> None:
    for made in (prior(), mixture_prior()):
        standardised = made.sample_standardised(6, seeded(4))
        assert standardised.shape == (6, 27) and not standardised.requires_grad
        assert torch.equal(made.sample(6, seeded(4), "up3.conv_1"), 0.2 * standardised)


def test_files_from_before_kinds_and_channels_are_vaes_on_group_standardised_kernels(tmp_path: Path) -> None:
    made = prior()
    save_prior(made, tmp_path)
    facts = json.loads((tmp_path / "prior.json").read_text())
    for key in ("kind", "standardise", "channels"):
        del facts[key]
    (tmp_path / "prior.json").write_text(json.dumps(facts))
    back = load_prior(tmp_path)
    assert (back.standardise, dict(back.channels)) == ("group", {})
    assert torch.equal(back.sample(9, seeded()), made.sample(9, seeded()))


@pytest.mark.parametrize(
    "change",
    [{"kind": "flow"}, {"standardise": "voxel"}, {"channels": {"a": 3}}, {"kind": "mixture"}],
)
def test_unknown_kinds_standardisations_and_channels_are_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    save_prior(prior(), tmp_path)
    facts = json.loads((tmp_path / "prior.json").read_text())
    (tmp_path / "prior.json").write_text(json.dumps(facts | change))
    with pytest.raises(ValueError, match="describes no prior"):
        load_prior(tmp_path)


def of_group_6(channels: dict[str, tuple[int, int]], names: tuple[str, ...] = ()) -> KernelPrior:
    scale = dict.fromkeys(names or channels, 0.1)
    return KernelPrior(6, KernelVAE(2), scale, channels=channels)


def test_a_prior_fits_networks_of_its_own_widths_plain_or_variational() -> None:
    net = UNet3D(channels=(2, 4, 6, 8))
    made = of_group_6(kernel_channels(net, 6))
    require_fit(made, net)
    make_bayesian(net)
    require_fit(made, net)


def test_a_prior_fitted_for_other_widths_is_refused_with_layers_and_both_widths() -> None:
    made = of_group_6(kernel_channels(UNet3D(channels=(2, 4, 6, 8)), 6))
    with pytest.raises(
        ValueError,
        match=r"group 6 .*up2\.conv_1 had 4 to 4 channels, the network's has 5 to 5; up2\.conv_2 had",
    ):
        require_fit(made, UNet3D(channels=(2, 5, 6, 8)))


def test_a_prior_that_knows_no_widths_is_compared_by_the_names_of_its_layers() -> None:
    require_fit(of_group_6({}, ("up2.conv_1", "up2.conv_2")), UNet3D(channels=(2, 5, 6, 8)))
    with pytest.raises(
        ValueError, match=r"up2\.conv_2 is in the network only; up9\.conv is not in the network"
    ):
        require_fit(of_group_6({}, ("up2.conv_1", "up9.conv")), UNet3D())
