"""Harvest of kernels, their scales, and the bank's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dwp_sweep.nets.kernel_bank import (
    KernelBank,
    Standardise,
    collect_bank,
    drop_tiny,
    load_bank,
    read_layers,
    save_bank,
)
from dwp_sweep.nets.kernel_groups import GROUPS
from dwp_sweep.nets.unet3d import UNet3D, he_init


def nets(n_seeds: int = 2, n_cycles: int = 2) -> dict[tuple[int, int], UNet3D]:
    made = {}
    for seed in range(n_seeds):
        for cycle in range(n_cycles):
            made[seed, cycle] = UNet3D(channels=(2, 3, 4, 5))
            he_init(made[seed, cycle], torch.Generator().manual_seed(10 * seed + cycle))
    return made


def bank() -> KernelBank:
    return collect_bank(nets())


def test_two_seeds_and_two_cycles_of_the_default_network_hold_four_times_26640_kernels() -> None:
    held = collect_bank({(seed, cycle): UNet3D() for seed in range(2) for cycle in range(2)})
    assert sum(held.counts().values()) == 4 * 26_640
    assert held.members == ((0, 0), (0, 1), (1, 0), (1, 1))


def test_each_kernel_can_be_traced_to_its_network_and_layer() -> None:
    members = nets()
    held = collect_bank(members)
    for group in GROUPS:
        part = held.groups[group]
        for place in range(0, len(part.kernels), 7):
            net = members[held.members[part.member[place]]]
            layer = net.get_submodule(part.layers[part.layer[place]])
            first = int(
                ((part.member == part.member[place]) & (part.layer == part.layer[place])).nonzero()[0]
            )
            assert torch.equal(part.kernels[place], layer.weight.reshape(-1, 27)[place - first])


def test_the_bank_does_not_follow_later_changes_of_the_networks() -> None:
    members = nets()
    held = collect_bank(members)
    before = held.groups[1].kernels.clone()
    members[0, 0].init_conv.weight.data.zero_()
    assert torch.equal(held.groups[1].kernels, before)


def test_layer_scales_bring_each_layer_and_group_scales_the_group_to_unit_mean_square() -> None:
    held = bank()
    part = held.groups[2]
    by_layer = held.scales(2, "layer")
    for place, name in enumerate(part.layers):
        kernels = part.kernels[part.layer == place] / by_layer[name]
        assert float(kernels.square().mean()) == pytest.approx(1, rel=1e-5)
    by_group = held.scales(2, "group")
    assert set(by_group) == set(part.layers) and len(set(by_group.values())) == 1
    assert float((part.kernels / by_group[part.layers[0]]).square().mean()) == pytest.approx(1, rel=1e-5)
    assert len(set(by_layer.values())) > 1


def test_a_layer_of_zeros_has_no_scale_and_is_named() -> None:
    members = nets()
    for net in members.values():
        net.up1.conv_2.weight.data.zero_()
    held, _ = drop_tiny(collect_bank(members))
    with pytest.raises(ValueError, match=r"up1\.conv_2"):
        held.scales(5, "layer")


def test_kernels_tiny_beside_the_others_of_their_layer_are_dropped_and_counted() -> None:
    members = nets()
    for net in members.values():
        net.down2.conv_1.weight.data[0, 0] *= 1e-3
        net.down6.conv_1.weight.data *= 1e-6  # a whole small layer is not tiny beside itself
    whole = collect_bank(members)
    held, dropped = drop_tiny(whole)
    assert dropped == {group: 4 if group == 2 else 0 for group in GROUPS}
    assert held.counts()[2] == whole.counts()[2] - 4
    assert len(held.groups[2].member) == len(held.groups[2].layer) == held.counts()[2]


def test_a_bank_comes_back_from_its_files_as_it_was(tmp_path: Path) -> None:
    held = drop_tiny(bank(), 0.3)[0]
    save_bank(held, tmp_path / "bank")
    back = load_bank(tmp_path / "bank")
    assert {path.name for path in (tmp_path / "bank").iterdir()} == {"bank.safetensors", "bank.json"}
    assert back.members == held.members
    for group in GROUPS:
        a, b = held.groups[group], back.groups[group]
        assert a.layers == b.layers
        assert torch.equal(a.kernels, b.kernels) and b.kernels.dtype == torch.float32
        assert torch.equal(a.layer, b.layer) and torch.equal(a.member, b.member)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": [[0, 0]]}, "points to a layer or member"),
        ({"layers": {"9": ["x"]}}, "does not fit"),
        ({"members": 3}, "does not fit"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    save_bank(bank(), tmp_path)
    facts = json.loads((tmp_path / "bank.json").read_text())
    (tmp_path / "bank.json").write_text(json.dumps(facts | change))
    with pytest.raises(ValueError, match=message) as caught:
        load_bank(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_no_network_makes_no_bank() -> None:
    with pytest.raises(ValueError, match="at least one"):
        collect_bank({})


def test_networks_of_different_width_share_no_bank() -> None:
    wide, narrow = UNet3D(channels=(4, 4, 4, 4)), UNet3D(channels=(2, 4, 4, 4))
    with pytest.raises(
        ValueError, match=r"one shape: .*\(0, 0\) and \(1, 0\) differ in init_conv, down1\.conv_1"
    ):
        collect_bank({(0, 0): wide, (1, 0): narrow})


def test_filter_scales_bring_every_output_channel_of_every_network_to_unit_mean_square() -> None:
    members = nets()
    held = collect_bank(members)
    part = held.groups[5]
    scale = held.kernel_scales(5, "filter")
    assert scale.shape == (len(part.kernels), 1)
    for (_, net), member in zip(members.items(), range(len(members)), strict=True):
        weight = net.up1.conv_1.weight
        expected = weight.square().mean(dim=(1, 2, 3, 4)).sqrt().repeat_interleave(weight.shape[1])
        here = (part.member == member) & (part.layer == 0)
        torch.testing.assert_close(scale[here, 0], expected.detach())


def test_filter_scales_count_only_the_kernels_that_were_kept() -> None:
    members = nets(1, 1)
    members[0, 0].up1.conv_1.weight.data[1, 0] = 0
    held, dropped = drop_tiny(collect_bank(members))
    assert (dropped[5], held.dropped[5]) == (1, 1)
    weight = members[0, 0].up1.conv_1.weight
    of_filter = held.kernel_scales(5, "filter")[weight.shape[1]]
    assert float(of_filter) == pytest.approx(float(weight[1, 1:].detach().square().mean().sqrt()), rel=1e-5)


def test_a_layers_filter_scale_is_the_median_over_its_filters() -> None:
    members = nets()
    held = collect_bank(members)
    filters = torch.cat(
        [net.up1.conv_2.weight.square().mean(dim=(1, 2, 3, 4)).sqrt() for net in members.values()]
    )
    assert held.scales(5, "filter")["up1.conv_2"] == pytest.approx(float(filters.detach().median()))


@pytest.mark.parametrize("standardise", ["group", "layer"])
def test_kernel_scales_are_those_of_the_layers(standardise: Standardise) -> None:
    held = bank()
    expected = held.groups[3].per_kernel(held.scales(3, standardise))
    assert torch.equal(held.kernel_scales(3, standardise), expected)


def test_channels_and_dropped_counts_come_back_from_the_files(tmp_path: Path) -> None:
    held, dropped = drop_tiny(bank(), 0.9)
    save_bank(held, tmp_path)
    back = load_bank(tmp_path)
    assert sum(dropped.values()) > 0 and dict(back.dropped) == dropped
    assert all(back.groups[group].channels == held.groups[group].channels for group in GROUPS)
    assert back.groups[7].channels == {"up3.conv_1": (2, 2), "up3.conv_2": (2, 2)}
    assert read_layers(tmp_path)[1] == {"init_conv": (1, 2), "down1.conv_1": (2, 3)}


def test_a_bank_from_before_channels_were_kept_serves_all_but_filters(tmp_path: Path) -> None:
    save_bank(bank(), tmp_path)
    facts = json.loads((tmp_path / "bank.json").read_text())
    del facts["channels"], facts["dropped"]
    (tmp_path / "bank.json").write_text(json.dumps(facts))
    back = load_bank(tmp_path)
    assert back.scales(7, "layer") == bank().scales(7, "layer")
    assert read_layers(tmp_path)[7] == {"up3.conv_1": None, "up3.conv_2": None}
    with pytest.raises(ValueError, match=r"filter needs the channel numbers of up3\.conv_1, up3\.conv_2"):
        back.kernel_scales(7, "filter")
