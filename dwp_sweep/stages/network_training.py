"""Training of one segmentation network on volumes: what the source and the target stage share.

Joins data, a prepared method and the one training loop. `methods` decides how the network starts and
what its loss is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dwp_sweep.data.augment.augmenter import Augmentation
from dwp_sweep.data.batches import Batch, BatchMaker
from dwp_sweep.data.cache.cases import Case, load_cases
from dwp_sweep.data.cache.memory import dataset_fingerprint
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.methods.contract import TrainingSetup
from dwp_sweep.metrics.overlap import overlap_means, overlap_row
from dwp_sweep.nets.net_files import CLASSES
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.stages.contract import SCANS, SCANS_READ, WARM_UP_EPOCHS, Emit
from dwp_sweep.stages.prediction import WHOLE, predict_case
from dwp_sweep.training.compute import ComputeConfig, autocast, named_seed, resolve_device, to_device
from dwp_sweep.training.loop import FitResult, Learner, TrainConfig, fit, higher_val_dice

Cases = Mapping[str, Case]


AS_THEY_ARE = Augmentation()
"""Training images without any change."""
TELL_EVERY_S = 0.5
"""A warm cache answers sooner and reports no progress."""


def read_cases(dataset: DatasetConfig, compute: ComputeConfig, stage: str, emit: Emit) -> Cases:
    """All selected subjects of a data set, preprocessed, by id.

    Args:
        dataset: Whose subjects.
        compute: `cache_dir` is read.
        stage: Name of the stage that wants them.
        emit: Called as step 0 with how many are read, where reading takes time.

    Raises:
        StopTrial: From ``emit``.
        InputError: The folder does not hold what the config says, or no longer what the node's key says.
    """
    subjects = list_subjects(dataset)
    cache_dir = Path(compute.cache_dir)
    if dataset.fingerprint and dataset_fingerprint(dataset, subjects, cache_dir) != dataset.fingerprint:
        what = "the scans, masks or splits changed since the sweep was planned"
        raise InputError(Problem(str(dataset.root), what, "run the command again"))
    cases = load_cases(dataset, subjects, cache_dir, now_and_then(stage, emit))
    return {case.id: case for case in cases}


def train_network(
    prepared: TrainingSetup,
    train: Sequence[Case],
    val: Sequence[Case],
    config: TrainConfig,
    compute: ComputeConfig,
    seed: int,
    checkpoint: Path,
    emit: Callable[[int, Mapping[str, float]], None],
    patch: PatchConfig = WHOLE,
    augmentation: Augmentation = AS_THEY_ARE,
    classes: Sequence[str] = (),
) -> FitResult:
    """Fit a prepared network; afterwards it holds its best validation epoch.

    Validation scores each of the classes too, where there are several.

    With a patch shape each training image gives one patch a pass, and validation predicts whole volumes
    from windows. Volumes of several sizes go through the network size by size, never padded to one
    another, and the loss is the mean over the batch's images all the same. Training images alone are
    augmented, on the device, each step anew from its number. Where whole epochs end in the
    method's warm-up, every epoch's metrics say how many (`WARM_UP_EPOCHS`).

    Raises:
        DivergedError: A loss was not finite.
        StopTrial: From ``emit``.
    """
    device = resolve_device(compute)
    n_warm_up_epochs = prepared.warm_up // config.length(len(train)).steps_per_epoch
    facts = {WARM_UP_EPOCHS: float(n_warm_up_epochs)} if n_warm_up_epochs else {}
    arrange(prepared.net, compute)
    if isinstance(prepared.net, UNet3D):
        prepared.net.background = train[0].background  # a source network may come from other scans
    augmenter = augmentation.augmenter(named_seed(seed, "augment"), device)
    pin, patch_seed = device.type == "cuda", named_seed(seed, "patches")
    with BatchMaker(train, patch, patch_seed, pin, augmenter=augmenter) as batches:

        def part_loss(part: Batch, step: int) -> dict[str, Tensor]:
            with autocast(compute, device):
                logits = prepared.net(to_device(part.images, device))
            n_patches = None if part.n_patches is None else to_device(part.n_patches, device)
            return prepared.batch_loss(logits.float(), to_device(part.masks, device).long(), step, n_patches)

        def batch_loss(indices: Tensor, step: int) -> dict[str, Tensor]:
            parts = batches.batch(indices, step)
            terms = [part_loss(part, step) for part in parts]
            shares = [len(part.masks) / len(indices) for part in parts]
            return {name: _mean([term[name] for term in terms], shares) for name in terms[0]}

        def validate() -> dict[str, float]:
            return validation_metrics(prepared, val, compute, patch, classes) | prepared.diagnostics() | facts

        learner = Learner(
            prepared.state,
            prepared.param_groups,
            batch_loss,
            validate,
            higher_val_dice,
            noise=prepared.noise,
            begin_epoch=prepared.begin_epoch,
            upcoming=batches.upcoming,
            warm_up=prepared.warm_up,
        )
        return fit(learner, config, len(train), seed, checkpoint, emit)


def validation_metrics(
    prepared: TrainingSetup,
    cases: Sequence[Case],
    compute: ComputeConfig,
    patch: PatchConfig = WHOLE,
    classes: Sequence[str] = (),
) -> dict[str, float]:
    """Mean data loss, Dice and IoU over whole volumes; a Bayesian network predicts with its mean.

    With classes Dice and IoU are means over the classes, and those of each class stand beside them.
    """
    losses, scores = [], []
    for case in cases:
        logits, mask = predict_case(prepared.net, case, compute, patch)
        losses.append(float(prepared.data_loss(logits, mask)))
        likeliest = logits[0].argmax(0)
        masks = (likeliest, mask[0]) if classes else (likeliest == 1, mask[0] == 1)
        scores.append(overlap_row(*masks, classes))
    return {"val_loss": float(np.mean(losses))} | overlap_means(scores)


def best_scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """Loss and overlap of the best epoch, as ``best_val_dice`` and the like."""
    names = ("val_loss", "val_dice", "val_iou")
    return {f"best_{name}": value for name, value in metrics.items() if name.split(".")[0] in names}


def class_facts(dataset: DatasetConfig) -> dict[str, Any]:
    """What a network's file says of its outputs: the labels of each class; nothing with one foreground."""
    return {CLASSES: {name: list(labels) for name, labels in dataset.own_classes}} if dataset.classes else {}


def arrange(net: nn.Module, compute: ComputeConfig) -> None:
    """Set how a network stores its activations, from now on."""
    if isinstance(net, UNet3D):
        net.channels_last, net.checkpointing = compute.channels_last, compute.checkpointing


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Weighted by the share of the batch's images; of one part its own value."""
    if len(values) == 1:
        return values[0]
    return torch.stack([share * value for share, value in zip(shares, values, strict=True)]).sum(0)


def now_and_then(stage: str, emit: Emit, what: str = SCANS_READ) -> Callable[[int, int], None]:
    """Tell how far a stage is with its scans outside its epochs, not oftener than a display can use.

    Args:
        stage: Its name.
        emit: Called as step 0.
        what: `SCANS_READ` or `SCANS_SCORED`.

    Returns:
        A function of the scans done and of all scans.
    """
    last_s = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= TELL_EVERY_S:
            last_s = time.monotonic()
            emit(stage, 0, {what: float(done), SCANS: float(total)})

    return tell
