"""What a transfer method is: how the target network starts, what may learn, and the loss of a batch.

Stands between the stages, which train whatever a method prepares with the one loop, and networks and
losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from dwp_sweep.errors import Problem
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.nets.kernel_bank import Standardise
from dwp_sweep.nets.unet3d import UNetConfig
from dwp_sweep.strict import StrictModel
from dwp_sweep.training.loop import TrainingLength, same_every_epoch


@dataclass(frozen=True)
class MethodInputs:
    """All that a method may use.

    Attributes:
        unet: Shape of the network.
        loss: Segmentation loss of the sweep.
        settings: The method's own config sections by name (those in `Method.sections`).
        n_train: Number of training images, N in the paper's objective.
        seed: Of all that the training draws; a target's follows seed and split.
        device: Where to train.
        length: Of the training.
        source: Folder of a source network, where `Method.needs` names it.
        priors: Folders of the seven kernel priors, where `Method.needs` names them.
        bank: Folder of the kernel bank, where `Method.needs` names it.
        rescale: Bring the scale-invariant filters of a source network to He norm first; its function
            stays the same.
        lr: Learning rate of the sweep.
        lr_by_scale: Lower the rate of layers that start smaller than a He start.
        classes: Names of the classes behind the background; empty with one foreground.
    """

    unet: UNetConfig
    loss: LossConfig
    settings: Mapping[str, Any]
    n_train: int
    seed: int
    device: torch.device
    length: TrainingLength
    source: Path | None = None
    priors: tuple[Path, ...] = ()
    bank: Path | None = None
    rescale: bool = False
    lr: float = 1e-3
    lr_by_scale: bool = False
    classes: tuple[str, ...] = ()


class BatchLoss(Protocol):
    """Terms of a batch's loss; ``terms["loss"]`` is minimised."""

    def __call__(
        self, logits: Tensor, masks: Tensor, step: int, n_patches: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Of logits (B, n_classes, D, H, W) and masks (B, D, H, W); see `segmentation_loss` for patches."""
        ...


class DataLoss(Protocol):
    """The data term of a batch, a scalar."""

    def __call__(self, logits: Tensor, masks: Tensor, n_patches: Tensor | None = None) -> Tensor:
        """Arguments as for `BatchLoss`."""
        ...


class TrainingSetup(NamedTuple):
    """What a method hands to the training loop.

    Attributes:
        net: Predicts logits (B, n_classes, D, H, W) from images (B, C, D, H, W).
        state: Module with everything that training changes; holds ``net``.
        param_groups: Groups for the optimiser; every trainable parameter in exactly one.
        batch_loss: What training minimises.
        data_loss: The data term alone, for validation.
        noise: Generator drawn from in forward passes or ``batch_loss``, if any.
        diagnostics: Metrics of the method's own state, once an epoch.
        begin_epoch: As in `dwp_sweep.training.loop.Learner`: what may learn from this epoch on.
        warm_up: As there: steps before the objective is the one that is meant.
    """

    net: nn.Module
    state: nn.Module
    param_groups: list[dict[str, Any]]
    batch_loss: BatchLoss
    data_loss: DataLoss
    noise: torch.Generator | None = None
    diagnostics: Callable[[], dict[str, float]] = dict
    begin_epoch: Callable[[int], None] = same_every_epoch
    warm_up: int = 0


class Surroundings(NamedTuple):
    """What a method's settings must fit to.

    Attributes:
        length: Of the training.
        standardise: Of the priors; None where they are imported: their files say it.
        new_head: The last layer does not come from the source network, whose classes are others.
    """

    length: TrainingLength
    standardise: Standardise | None = None
    new_head: bool = False


def always_fits(settings: Mapping[str, Any], around: Surroundings) -> tuple[Problem, ...]:
    """The usual `Method.misfits`: every value that is valid by itself fits."""
    return ()


@dataclass(frozen=True)
class Method:
    """A registry line.

    Attributes:
        label: The paper's name, e.g. ``UNet-DWP``.
        sections: Config sections that the method reads, by YAML key.
        needs: Upstream outputs for given sections: any of ``source``, ``bank`` and ``priors``.
        prepare: Builds what to train.
        misfits: What cannot hold together in given sections, with the dotted keys of a search space.
    """

    label: str
    sections: Mapping[str, type[StrictModel]]
    needs: Callable[[Mapping[str, Any]], tuple[str, ...]]
    prepare: Callable[[MethodInputs], TrainingSetup]
    misfits: Callable[[Mapping[str, Any], Surroundings], tuple[Problem, ...]] = always_fits
