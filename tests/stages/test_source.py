"""Cycles of one source seed: each goes on from the network of the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dwp_sweep.data.config import DatasetConfig, PhantomConfig
from dwp_sweep.data.phantom.dataset import write_phantom
from dwp_sweep.methods.contract import TrainingSetup
from dwp_sweep.nets.net_files import load_net
from dwp_sweep.nets.unet3d import UNetConfig
from dwp_sweep.stages import source
from dwp_sweep.stages.source import SourceConfig, SourceStageConfig
from dwp_sweep.training.compute import ComputeConfig
from dwp_sweep.training.loop import FitResult


def weights(net: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten().clone() for value in net.state_dict().values()])


def test_each_cycle_goes_on_from_the_network_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Tensor] = []
    seeds: list[int] = []

    def train_network(
        prepared: TrainingSetup, train: Any, val: Any, config: Any, compute: Any, seed: int, *_: Any
    ) -> FitResult:
        starts.append(weights(prepared.net))
        seeds.append(seed)
        for parameter in prepared.net.parameters():
            parameter.data += 1 + len(starts)
        best = {"val_loss": 1.0, "val_dice": 0.5, "val_iou": 0.4, "train_loss": 1.0, "lr": 1e-3}
        return FitResult(1, best, (best,), 1)

    monkeypatch.setattr(source, "train_network", train_network)
    write_phantom(PhantomConfig(n_subjects=3, shape=(16, 16, 16)), tmp_path / "set")
    config = SourceStageConfig(
        dataset=DatasetConfig(layout="msd", root=str(tmp_path / "set"), n_val=1),
        unet=UNetConfig(channels=(2, 2, 2, 2)),
        source=SourceConfig(n_cycles=3),
        compute=ComputeConfig(device="cpu", cache_dir=str(tmp_path / "cache")),
    )
    source.run(config, {}, tmp_path / "work", tmp_path / "out", lambda stage, step, metrics: None)

    ends = [weights(load_net(tmp_path / "out" / f"cycle{cycle}")) for cycle in range(3)]
    assert len(starts) == 3 and torch.equal(starts[1], ends[0]) and torch.equal(starts[2], ends[1])
    assert len(set(seeds)) == 3, "every cycle has an order of its own"
