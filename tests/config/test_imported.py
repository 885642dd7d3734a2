"""Brought banks and priors are held against the sweep's network before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.graph import upstream_problems
from dwp_sweep.config.space import load_space
from dwp_sweep.nets.kernel_bank import Standardise, collect_bank, kernel_channels, save_bank
from dwp_sweep.nets.kernel_groups import GROUPS
from dwp_sweep.nets.kernel_prior import KernelPrior, save_prior
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.unet3d import UNet3D

SPACE: dict[str, Any] = {
    "name": "brought",
    "data": {"target": {"layout": "phantom", "phantom": {"kind": "target", "n_subjects": 6}}},
    "fixed": {"unet.channels": [2, 4, 4, 4], "train_size": 3},
    "grid": {"method": ["deep_weight_prior"]},
}


def problems(folder: Path, *overrides: str) -> list[str]:
    space = load_space(SPACE, list(overrides))
    return [str(problem) for problem in upstream_problems(space.conditions, folder / "cache")]


def bank(folder: Path) -> Path:
    save_bank(collect_bank({(0, 0): UNet3D(channels=(2, 4, 4, 4))}), folder / "bank")
    return folder / "bank"


def priors(folder: Path, standardise: Standardise = "layer") -> Path:
    net = UNet3D(channels=(2, 4, 4, 4))
    for group in GROUPS:
        channels = kernel_channels(net, group)
        prior = KernelPrior(group, KernelVAE(2), dict.fromkeys(channels, 0.1), standardise, channels=channels)
        save_prior(prior, folder / "priors" / f"group{group}")
    return folder / "priors"


def test_those_of_the_sweeps_own_widths_are_taken(tmp_path: Path) -> None:
    assert problems(tmp_path, f"harvest.bank={bank(tmp_path)}") == []
    assert problems(tmp_path, f"prior.path={priors(tmp_path)}") == []


def test_a_bank_of_other_widths_is_refused_once_with_all_its_layers(tmp_path: Path) -> None:
    found = problems(tmp_path, f"harvest.bank={bank(tmp_path)}", "unet.channels=[3,4,4,4]")
    assert len(found) == 1 and found[0].startswith("harvest.bank: ")
    assert "init_conv had 1 to 2 channels, the network's has 1 to 3" in found[0]
    assert "up3.conv_2 had 2 to 2 channels, the network's has 3 to 3" in found[0]
    assert "up1.conv_1" not in found[0]


def test_priors_of_other_widths_are_refused_group_by_group(tmp_path: Path) -> None:
    found = problems(tmp_path, f"prior.path={priors(tmp_path)}", "unet.channels=[2,4,4,8]")
    assert [one.split(": ")[0] for one in found] == ["prior.path"] * 2
    assert "group 3" in found[0] and "down5.conv_1 had 4 to 4 channels" in found[0]
    assert "group 4" in found[1] and "down6.conv_2 had 4 to 4 channels, the network's has 8 to 8" in found[1]


def test_priors_whose_units_the_network_has_not_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    found = problems(tmp_path, f"prior.path={priors(tmp_path, 'group')}", "grid.split=[0,1]")
    assert len(found) == 1 and found[0].startswith("dwp.scale: start: prior.standardise group keeps")
    assert problems(tmp_path, f"prior.path={tmp_path / 'priors'}", "dwp.scale=source") == []


@pytest.mark.parametrize("method", ["random_init"])
def test_a_method_without_priors_does_not_look_at_them(tmp_path: Path, method: str) -> None:
    assert problems(tmp_path, f"prior.path={tmp_path / 'nowhere'}", f"method={method}") == []
