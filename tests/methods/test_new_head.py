"""Source and target that tell other classes apart: the last layer is new, everything else is carried over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs, Surroundings
from dwp_sweep.methods.freeze_middle import FreezeConfig
from dwp_sweep.methods.l2_sp import L2SpConfig
from dwp_sweep.methods.noise_only import NoiseOnlyConfig
from dwp_sweep.methods.start import HEAD, load_source, new_network
from dwp_sweep.nets.net_files import CLASSES, save_net
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig, he_init
from dwp_sweep.training.loop import TrainingLength

CHANNELS = (2, 2, 2, 2)
THREE = UNetConfig(n_classes=3, channels=CHANNELS)
NAMES = ("core", "oedema")


def source(folder: Path, n_classes: int, names: tuple[str, ...] = ()) -> UNet3D:
    net = UNet3D(1, n_classes, CHANNELS)
    he_init(net, torch.Generator().manual_seed(3))
    facts = {CLASSES: {name: [place] for place, name in enumerate(names, 1)}} if names else {}
    save_net(net, UNetConfig(n_classes=n_classes, channels=CHANNELS), folder, facts)
    return net


def inputs(folder: Path, **settings: Any) -> MethodInputs:
    cpu, length = torch.device("cpu"), TrainingLength(2, 2)
    return MethodInputs(THREE, LossConfig(), settings, 2, 7, cpu, length, source=folder, classes=NAMES)


@pytest.mark.parametrize(
    ("n_classes", "names", "is_new"),
    [(2, (), True), (3, ("anterior", "posterior"), True), (4, ("a", "b", "c"), True), (3, NAMES, False)],
)
def test_the_head_is_carried_over_where_the_classes_have_the_same_names_and_else_new(
    n_classes: int, names: tuple[str, ...], is_new: bool, tmp_path: Path
) -> None:
    before, given = source(tmp_path, n_classes, names).state_dict(), inputs(tmp_path)
    after, fresh = load_source(given).state_dict(), new_network(given).state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in after if name != HEAD)
    assert torch.equal(after[HEAD], fresh[HEAD] if is_new else before[HEAD])


def test_with_one_foreground_in_both_the_head_is_carried_over(tmp_path: Path) -> None:
    before = source(tmp_path, 2).state_dict()
    given = replace(inputs(tmp_path), unet=UNetConfig(channels=CHANNELS), classes=())
    after = load_source(given).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("method", ["fine_tune", "freeze_middle", "l2_sp", "noise_only"])
def test_every_method_that_starts_from_the_source_takes_a_step_with_a_new_head(
    method: str, tmp_path: Path
) -> None:
    source(tmp_path, 2)
    sections = {
        "freeze": FreezeConfig(), "l2_sp": L2SpConfig(), "noise_only": NoiseOnlyConfig(init="source"),
    }  # fmt: skip
    given = inputs(tmp_path, **{name: sections[name] for name in METHODS[method].sections})
    prepared = METHODS[method].prepare(given)
    masks = torch.randint(0, 3, (1, 16, 16, 16), generator=torch.Generator().manual_seed(0))
    logits = prepared.net(torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert logits.shape[1] == 3
    prepared.batch_loss(logits, masks, 0)["loss"].backward()  # type: ignore[no-untyped-call]
    head = prepared.net.get_parameter(HEAD)
    assert head.grad is not None and head.grad.abs().max() > 0


def test_l2_sp_pulls_a_new_head_to_zero_and_all_else_to_the_source(tmp_path: Path) -> None:
    source(tmp_path, 2)
    prepared = METHODS["l2_sp"].prepare(inputs(tmp_path, l2_sp=L2SpConfig(weight=2.0)))
    logits, masks = torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    terms = prepared.batch_loss(logits, masks, 0)
    head = prepared.net.get_parameter(HEAD)
    torch.testing.assert_close(terms["distance"], head.detach().square().sum())
    torch.testing.assert_close(terms["loss"], terms["data_loss"] + terms["distance"])


def test_a_new_head_that_would_stay_frozen_is_refused() -> None:
    around = Surroundings(TrainingLength(5, 5), new_head=True)
    misfits = METHODS["freeze_middle"].misfits
    (problem,) = misfits({"freeze": FreezeConfig(trainable=("init_conv", "up3"))}, around)
    assert problem.where == "freeze.trainable" and "add out" in problem.fix
    for config in (
        FreezeConfig(),
        FreezeConfig(n_frozen=10),
        FreezeConfig(trainable=("up3",), thaw_epoch=2),
    ):
        assert misfits({"freeze": config}, around) == ()
    assert misfits({"freeze": FreezeConfig(trainable=("up3",))}, around._replace(new_head=False)) == ()
