"""A tiny source network and seven tiny priors on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs, TrainingSetup
from dwp_sweep.nets.kernel_bank import collect_bank, save_bank
from dwp_sweep.nets.kernel_groups import GROUPS, kernel_layers
from dwp_sweep.nets.kernel_prior import KernelPrior, save_prior
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.net_files import save_net
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig, he_init
from dwp_sweep.training.loop import TrainingLength
from tests.methods.tiny import UNET, Prepare

LONG = TrainingLength(500, 3)


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``source``, ``bank`` and ``group1`` ... ``group7``."""
    folder = tmp_path_factory.mktemp("upstream")
    net = UNet3D(1, 2, UNET.channels)
    he_init(net, torch.Generator().manual_seed(5))
    save_net(net, UNET, folder / "source")
    save_bank(collect_bank({(0, 0): net}), folder / "bank")
    torch.manual_seed(0)
    for group in GROUPS:
        scale = {layer.name: 0.05 * group for layer in kernel_layers(net) if layer.group == group}
        save_prior(KernelPrior(group, KernelVAE(latent_dim=2), scale, "layer"), folder / f"group{group}")
    return folder


@pytest.fixture
def prepare(upstream: Path) -> Prepare:
    """``prepare(method, seed=, n_train=, unet=, groups=, rescale=, ...)``: what goes to the loop."""

    def build(
        name: str,
        seed: int = 0,
        n_train: int = 5,
        unet: UNetConfig = UNET,
        groups: Sequence[int] = GROUPS,
        rescale: bool = False,
        lr_by_scale: bool = False,
        length: TrainingLength = LONG,
        folder: Path = upstream,
        **settings: Any,
    ) -> TrainingSetup:
        method = METHODS[name]
        return method.prepare(
            MethodInputs(
                unet=unet,
                loss=LossConfig(),
                settings={section: model(**settings) for section, model in method.sections.items()},
                source=upstream / "source",
                priors=tuple(folder / f"group{group}" for group in groups),
                bank=upstream / "bank",
                rescale=rescale,
                lr_by_scale=lr_by_scale,
                n_train=n_train,
                seed=seed,
                device=torch.device("cpu"),
                length=length,
            )
        )

    return build
