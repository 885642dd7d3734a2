"""Training with augmentation beside training without: a step of each, and an image changed here and by MONAI.

Batches are made in a thread while the step before runs. Where the machine has a core to spare for that, an
augmented step costs what a plain one does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwp_sweep.bench.frame import Row, Setting, Version, compare
from dwp_sweep.data.augment.augmenter import Augmenter
from dwp_sweep.data.augment.config import AugmentConfig, short_form
from dwp_sweep.data.augment.geometry import Box
from dwp_sweep.data.batches import BatchMaker
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.losses.segmentation import LossConfig, segmentation_loss
from dwp_sweep.training.compute import to_device
from dwp_sweep.training.loop import Learner, TrainConfig, fit, lower_val_loss
from tests.benchmarks.stand_in import network

_SIZE, _QUICK_SIZE = (48, 48, 48), (16, 16, 16)
_N_CASES, _BATCH, _N_STEPS, _N_IMAGES = 4, 2, 8, 10
_REPEATS = 5
GOAL = 1.05

Images = Callable[[int], object]


def augment(setting: Setting) -> list[Row]:
    """Step of a training with augmentation beside one without, and an image changed by ours and by MONAI."""
    cases = _cases(setting)
    presets = {"plain preset": "plain", "strong preset": "strong"}
    steps = [
        Version("no augmentation", "batches of volumes as they are", partial(_train, cases, None, setting))
    ]
    steps += [
        Version(
            name,
            "the same, augmented ahead",
            partial(_train, cases, _augmenter(preset, setting), setting),
            goal,
        )
        for (name, preset), goal in zip(presets.items(), (GOAL, None), strict=True)
    ]
    rows = compare(steps, setting, _REPEATS)
    ours, monai = _ours(cases[0], setting), _monai(cases[0], setting)
    images = [
        Version(
            f"{name}, {words}", f"{_N_IMAGES} images with labels", partial(_repeated, images[name], setting)
        )
        for name in ("turn", "tone")
        for words, images in (("MONAI", monai), ("ours", ours))
    ]
    for pair in (images[:2], images[2:]):
        rows += compare(pair, setting, _REPEATS)
    return rows


def _cases(setting: Setting) -> list[Case]:
    size, rng = _QUICK_SIZE if setting.quick else _SIZE, np.random.default_rng(setting.seed)
    return [
        Case(
            str(number),
            rng.standard_normal((1, *size), dtype=np.float32),
            (rng.random(size) > 0.9).astype(np.uint8),
        )
        for number in range(_N_CASES)
    ]


def _augmenter(preset: str, setting: Setting, **more: object) -> Augmenter:
    config = AugmentConfig.model_validate(short_form({"preset": preset, **more}))
    return Augmenter(config, "RAS", setting.seed, setting.device)


def _train(cases: list[Case], augmenter: Augmenter | None, setting: Setting) -> None:
    """Some steps by the one loop, of the default network."""
    net, is_cuda = network(setting), setting.device.type == "cuda"
    n_steps = 2 if setting.quick else _N_STEPS
    config = TrainConfig(batch_size=_BATCH, max_epochs=1, steps_per_epoch=n_steps, checkpoint_every=2)
    with (
        TemporaryDirectory(prefix="dwp_sweep_") as folder,
        BatchMaker(cases, PatchConfig(), setting.seed, is_cuda, augmenter=augmenter) as batches,
    ):

        def batch_loss(indices: Tensor, step: int) -> dict[str, Tensor]:
            (batch,) = batches.batch(indices, step)
            images, masks = (to_device(part, setting.device) for part in (batch.images, batch.masks))
            return {"loss": segmentation_loss(net(images), masks.long(), LossConfig()).loss}

        groups = [{"params": list(net.parameters())}]
        learner = Learner(
            net, groups, batch_loss, lambda: {"val_loss": 0.0}, lower_val_loss, upcoming=batches.upcoming
        )
        fit(learner, config, len(cases), setting.seed, Path(folder) / "none", lambda epoch, metrics: None)


def _repeated(images: Images, setting: Setting) -> None:
    for number in range(1 if setting.quick else _N_IMAGES):
        images(number)


def _ours(case: Case, setting: Setting) -> dict[str, Images]:
    still = {"rotation_deg": 0, "scale": [1, 1], "intensity_probability": 1}
    turn, tone = {"intensity_probability": 0, "spatial_probability": 1}, still
    box = Box((0, 0, 0), tuple(case.mask.shape))

    def images(more: dict[str, object]) -> Images:
        augmenter = _augmenter("plain", setting, **more)
        return lambda number: augmenter.augmented(case, box, number, 0)

    return {"turn": images(dict(turn)), "tone": images(dict(tone))}


def _monai(case: Case, setting: Setting) -> dict[str, Images]:
    """Transforms with the ranges of the preset, as a user of MONAI would write them."""
    import monai.transforms

    transforms: Any = monai.transforms  # it does not say what it exports
    radians = (np.deg2rad(15.0),) * 3
    turn = transforms.RandAffined(
        ["image", "mask"], prob=1, rotate_range=radians, scale_range=(0.15,) * 3,
        mode=["bilinear", "nearest"], padding_mode="zeros",
    )  # fmt: skip
    std = (0.5, 1.0)
    tone = transforms.Compose(
        [
            transforms.RandAdjustContrastd("image", prob=1, gamma=(0.7, 1.5), retain_stats=True),
            transforms.RandScaleIntensityd("image", prob=1, factors=0.25),
            transforms.RandGaussianSmoothd("image", prob=1, sigma_x=std, sigma_y=std, sigma_z=std),
            transforms.RandSimulateLowResolutiond("image", prob=1, zoom_range=(0.5, 1.0)),
            transforms.RandGaussianNoised("image", prob=1, std=0.1),
        ]
    )
    given = {"image": torch.from_numpy(case.image), "mask": torch.from_numpy(case.mask)[None].float()}

    def images(transform: Any) -> Images:
        def one(number: int) -> object:
            transform.set_random_state(setting.seed + number)
            return transform(given)

        return one

    return {"turn": images(turn), "tone": images(tone)}
