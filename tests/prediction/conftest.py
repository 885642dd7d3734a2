"""A store with trained networks in it, made in a moment: what predictions start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.nets.bayes_conv import make_bayesian
from dwp_sweep.nets.net_files import save_net
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig, he_init
from dwp_sweep.stages.target import TargetConfig, TargetStageConfig
from dwp_sweep.stages.validation import save_temperature
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Record

KEY = "0123456789abcdef0123"
AddTarget = Callable[..., str]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def add_target(storage: Path) -> AddTarget:
    """``add_target(key, log_var=None, preprocess={}, target={}, ..., **dataset)`` publishes a target."""

    def add(
        key: str = KEY,
        log_var: float | None = None,
        preprocess: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        facts: dict[str, Any] | None = None,
        temperature: Temperature | None = None,
        net_seed: int = 0,
        **dataset: Any,
    ) -> str:
        data = DatasetConfig.model_validate(
            {"layout": "msd", "root": "/gone", "preprocess": preprocess or {}} | dataset
        )
        unet = UNetConfig(in_channels=data.n_channels, n_classes=data.n_outputs, channels=(2, 4, 4, 4))
        net = UNet3D(**unet.model_dump())
        he_init(net, torch.Generator().manual_seed(net_seed))
        if log_var is not None:
            make_bayesian(net, log_var)
        config = TargetStageConfig(
            method="random_init", train_size=5, split=0, seed=3, dataset=data, unet=unet,
            target=TargetConfig.model_validate({"n_samples": 3} | (target or {})),
        )  # fmt: skip
        store = LocalStore(storage)
        out_dir = store.new_out_dir("target", key)
        save_net(net, unet, out_dir, facts)
        if temperature is not None:
            save_temperature(temperature, out_dir)
        store.publish(out_dir, Record(key, "target", "done", config.model_dump(mode="json")))
        return key

    return add


@pytest.fixture
def scan() -> np.ndarray:
    """(18, 14, 10): a head of texture in a background of zeros."""
    rng = np.random.default_rng(4)
    scan = np.zeros((18, 14, 10), dtype=np.float32)
    scan[2:16, 1:13, 1:9] = rng.uniform(40, 90, (14, 12, 8))
    scan[5:10, 4:9, 3:7] += 80
    return scan


AFFINE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.08, -0.05, 0.1) @ np.diag([1.5, 1.0, 2.0]), (-12.0, 30.0, 4.5)
)


def save_scan(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)
