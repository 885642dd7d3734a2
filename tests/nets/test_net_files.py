"""Networks as files: what comes back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dwp_sweep.nets.bayes_conv import BayesConv3d, Noise, make_bayesian
from dwp_sweep.nets.net_files import load_net, read_net_facts, save_net
from dwp_sweep.nets.unet3d import UNet3D, he_init


def net() -> UNet3D:
    made = UNet3D(channels=(2, 3, 4, 5))
    he_init(made, torch.Generator().manual_seed(0))
    return made


def volume() -> torch.Tensor:
    return torch.randn(1, 1, 16, 17, 18, generator=torch.Generator().manual_seed(1))


def saved(folder: Path) -> Path:
    made = net()
    save_net(made, made.config, folder, {"epoch": 3})
    return folder


def test_a_network_comes_back_ready_to_predict_the_same(tmp_path: Path) -> None:
    back = load_net(saved(tmp_path / "net"))
    assert not back.training
    assert torch.equal(back(volume()), net().eval()(volume()))
    facts = read_net_facts(tmp_path / "net")
    assert facts.unet == net().config and dict(facts.extra) == {"epoch": 3} and facts.noise is None


def test_a_network_comes_back_with_the_background_that_it_pads_with(tmp_path: Path) -> None:
    made = net().eval()
    made.background = -1.0
    save_net(made, made.config, tmp_path)
    assert torch.equal(load_net(tmp_path)(volume()), made(volume()))

    facts = json.loads((tmp_path / "net.json").read_text())
    del facts["background"]  # as networks were written that padded with zeros
    (tmp_path / "net.json").write_text(json.dumps(facts))
    assert torch.equal(load_net(tmp_path)(volume()), net().eval()(volume()))

    (tmp_path / "net.json").write_text(json.dumps({**facts, "background": "air"}))
    with pytest.raises(ValueError, match="background must be a number, not 'air'"):
        load_net(tmp_path)


@pytest.mark.parametrize("noise", ["weight", "local"])
def test_a_variational_network_comes_back_with_its_distribution_and_predicts_with_the_mean(
    tmp_path: Path, noise: Noise
) -> None:
    made = net()
    layers = make_bayesian(made, -8.0, noise)
    layers[3].log_var.data.fill_(-2.0)
    save_net(made, made.config, tmp_path)
    back = load_net(tmp_path)
    assert torch.equal(back(volume()), net().eval()(volume()))
    found = [module for module in back.modules() if isinstance(module, BayesConv3d)]
    assert len(found) == 19 and {module.noise for module in found} == {noise}
    assert all(torch.equal(a.log_var, b.log_var) for a, b in zip(found, layers, strict=True))
    assert read_net_facts(tmp_path).noise is not None


def test_loading_does_not_move_the_global_random_state(tmp_path: Path) -> None:
    saved(tmp_path)
    before = torch.get_rng_state()
    load_net(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["net.json", "net.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (saved(tmp_path) / name).unlink()
    with pytest.raises(ValueError, match=f"{name}: no such file"):
        load_net(tmp_path)


@pytest.mark.parametrize("name", ["net.json", "net.safetensors"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path) / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=f"{name}: no readable"):
        load_net(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unet": {"channels": [4, 4, 4, 4]}}, "net.safetensors: the tensors do not fit"),
        ({"unet": {"channels": [4, 4]}}, "net.json: 'unet' is no valid network shape"),
        ({"bayesian": True, "noise": "weight"}, "net.safetensors: the tensors do not fit"),
        ({"bayesian": True, "noise": "loud"}, "net.json: noise must be"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = saved(tmp_path) / "net.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_net(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("[1]", "JSON object"), ("{}", "missing key 'unet'")])
def test_a_description_of_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (saved(tmp_path) / "net.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_net(tmp_path)


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path) / "net.safetensors"
    tensors = load_file(path)
    tensors["down4.conv_1.weight"][0, 0, 0, 0, 0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"down4\.conv_1\.weight.*NaN"):
        load_net(tmp_path)
