"""What harvest says of a bank."""

from __future__ import annotations

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.nets.kernel_bank import collect_bank, drop_tiny
from dwp_sweep.nets.kernel_groups import GROUPS
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.stages.harvest import bank_scores


def test_every_group_is_counted_and_scored() -> None:
    bank = collect_bank({(0, 0): UNet3D(channels=(2, 3, 4, 5))})
    scores = bank_scores(bank)
    assert {scores[f"n_kernels_group{group}"] for group in GROUPS} == set(bank.counts().values())
    assert all(-1 <= scores[f"autocorrelation_group{group}"] <= 1 for group in GROUPS)


def test_a_layer_without_any_kernel_left_is_named_with_counts() -> None:
    net = UNet3D(channels=(2, 3, 4, 5))
    net.up3.conv_2.weight.data.zero_()
    bank, _ = drop_tiny(collect_bank({(0, 0): net}))
    with pytest.raises(InputError, match=r"group 7: no scale for up3\.conv_2 .*4 kernels held, 4 tiny ones"):
        bank_scores(bank)
