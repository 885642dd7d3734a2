"""What all methods share, and how each of the plain ones starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dwp_sweep.methods import METHODS
from dwp_sweep.nets.net_files import load_net
from dwp_sweep.nets.unet3d import UNetConfig
from tests.methods.tiny import Prepare

IMAGES = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
MASKS = (IMAGES[:, 0] > 1).long()


def one_step(prepared: object, lr: float = 1e-2) -> dict[str, Tensor]:
    optimizer = torch.optim.Adam(prepared.param_groups, lr=lr)  # type: ignore[attr-defined]
    prepared.state.train()  # type: ignore[attr-defined]
    terms: dict[str, Tensor] = prepared.batch_loss(prepared.net(IMAGES), MASKS, 0)  # type: ignore[attr-defined]
    terms["loss"].backward()
    optimizer.step()
    return terms


@pytest.mark.parametrize("name", METHODS)
def test_every_trainable_parameter_is_in_exactly_one_group(name: str, prepare: Prepare) -> None:
    prepared = prepare(name)
    grouped = [id(parameter) for group in prepared.param_groups for parameter in group["params"]]
    trainable = {id(parameter) for parameter in prepared.state.parameters() if parameter.requires_grad}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == trainable


@pytest.mark.parametrize("name", METHODS)
def test_the_state_holds_the_network(name: str, prepare: Prepare) -> None:
    prepared = prepare(name)
    inside = {id(parameter) for parameter in prepared.state.parameters()}
    assert {id(parameter) for parameter in prepared.net.parameters()} <= inside


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_the_batch_it_sees(name: str, prepare: Prepare) -> None:
    prepared = prepare(name)
    optimizer = torch.optim.Adam(prepared.param_groups, lr=1e-2)
    losses = []
    for step in range(15):
        optimizer.zero_grad()
        terms = prepared.batch_loss(prepared.net(IMAGES), MASKS, step)
        terms["loss"].backward()
        optimizer.step()
        losses.append(float(prepared.data_loss(prepared.net(IMAGES), MASKS).detach()))
    assert min(losses[-3:]) < losses[0]


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_start_and_another_seed_another_order_of_noise(
    name: str, prepare: Prepare
) -> None:
    first, second = one_step(prepare(name, seed=1)), one_step(prepare(name, seed=1))
    assert torch.equal(first["loss"], second["loss"])


def test_random_inits_of_two_seeds_differ(prepare: Prepare) -> None:
    first, second = prepare("random_init", seed=0), prepare("random_init", seed=1)
    assert not torch.equal(next(first.net.parameters()), next(second.net.parameters()))


@pytest.mark.parametrize("name", ["fine_tune", "freeze_middle"])
def test_a_transferred_network_predicts_like_the_source_network_before_it_is_trained(
    name: str, prepare: Prepare, upstream: Path
) -> None:
    with torch.no_grad():
        assert torch.equal(prepare(name).net(IMAGES), load_net(upstream / "source")(IMAGES))


def test_freezing_changes_only_the_trainable_blocks(prepare: Prepare, upstream: Path) -> None:
    prepared = prepare("freeze_middle", trainable=("init_conv", "out"))
    before = {name: value.clone() for name, value in prepared.net.named_parameters()}
    one_step(prepared)
    changed = {
        name.split(".")[0]
        for name, value in prepared.net.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert changed == {"init_conv", "out"}


def test_a_source_network_of_other_channels_is_refused_by_name(prepare: Prepare) -> None:
    with pytest.raises(ValueError, match=r"source network does not fit the target's unet section.*shape"):
        prepare("fine_tune", unet=UNetConfig(channels=(4, 4, 4, 4)))
