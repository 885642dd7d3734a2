"""What one training step is: of the network as others build it, and of a method as the stages train it.

Made in the process that times them; the data are random volumes in memory, so that a step is all that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from dwp_sweep.bench.other_networks import monai_network, plain_network
from dwp_sweep.losses.segmentation import LossConfig, segmentation_loss
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs
from dwp_sweep.nets.kernel_groups import kernel_layers
from dwp_sweep.nets.kernel_prior import KernelPrior, save_prior
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig
from dwp_sweep.stages.network_training import arrange
from dwp_sweep.training.compute import ComputeConfig, autocast
from dwp_sweep.training.loop import TrainingLength

Step = Callable[[], object]
BATCH = 2
_AFTER_ANNEALING = 10**6
_DWP = "deep_weight_prior"


@dataclass(frozen=True)
class StepSetting:
    """What all steps of a process share.

    Attributes:
        size: Of a volume, ``(D, H, W)``.
        channels: Of the U-Net.
        device: ``cpu`` or ``cuda``.
        seed: Of data and weights.
    """

    size: tuple[int, int, int]
    channels: tuple[int, int, int, int]
    device: str
    seed: int = 0


@dataclass(frozen=True)
class StepKind:
    """One version of a step.

    Attributes:
        network: ``plain`` or ``monai`` modules, or the project's own with a method's name.
        precision: ``fp32`` or ``bf16``.
        kl_fraction: For the deep weight prior; None: its default.
        channels_last: See `ComputeConfig`.
        checkpointing: See `ComputeConfig`.
    """

    network: str
    precision: str = "fp32"
    kl_fraction: float | None = None
    channels_last: bool | None = None
    checkpointing: bool = False


def make_step(kind: StepKind, setting: StepSetting) -> Step:
    """One step: forward, loss, backward, Adam.

    Raises:
        KeyError: If ``kind.network`` is neither a build nor a method.
    """
    # Building blocks of libraries draw their weights from torch's global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        images, masks = _batch(setting)
        if kind.network in ("plain", "monai"):
            return _module_step(kind, setting, images, masks)
        return _method_step(kind, setting, images, masks)


def _module_step(kind: StepKind, setting: StepSetting, images: Tensor, masks: Tensor) -> Step:
    make = plain_network if kind.network == "plain" else monai_network
    net = make(UNetConfig(channels=setting.channels)).to(setting.device)
    optimizer = torch.optim.Adam(net.parameters())

    def loss(logits: Tensor) -> Tensor:
        return segmentation_loss(logits, masks, LossConfig()).loss

    return _step(net, optimizer, images, loss, _compute(kind, setting))


def _method_step(kind: StepKind, setting: StepSetting, images: Tensor, masks: Tensor) -> Step:
    compute = _compute(kind, setting)
    with _inputs(kind, setting) as inputs:
        prepared = METHODS[kind.network].prepare(inputs)
    arrange(prepared.net, compute)
    prepared.state.train()
    # As in the training loop.
    optimizer = torch.optim.Adam(prepared.param_groups, lr=1e-3, fused=True)

    def loss(logits: Tensor) -> Tensor:
        return prepared.batch_loss(logits, masks, _AFTER_ANNEALING)["loss"]

    return _step(prepared.net, optimizer, images, loss, compute)


def _step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    loss: Callable[[Tensor], Tensor],
    compute: ComputeConfig,
) -> Step:
    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(compute, images.device):
            logits = net(images)
        torch.autograd.backward(loss(logits.float()))
        optimizer.step()

    return run


def _compute(kind: StepKind, setting: StepSetting) -> ComputeConfig:
    return ComputeConfig.model_validate(
        {
            "device": setting.device,
            "precision": kind.precision,
            "channels_last": kind.channels_last,
            "checkpointing": kind.checkpointing,
        }
    )


def _batch(setting: StepSetting) -> tuple[Tensor, Tensor]:
    images = torch.randn(BATCH, 1, *setting.size)
    masks = (torch.rand(BATCH, *setting.size) > 0.9).long()
    return images.to(setting.device), masks.to(setting.device)


@contextmanager
def _inputs(kind: StepKind, setting: StepSetting) -> Iterator[MethodInputs]:
    """Inputs of a method; the deep weight prior gets priors that nobody fitted: they cost the same."""
    sections = METHODS[kind.network].sections
    given = {} if kind.kl_fraction is None else {"kl_fraction": kind.kl_fraction}
    with TemporaryDirectory() as folder:
        yield MethodInputs(
            unet=UNetConfig(channels=setting.channels),
            loss=LossConfig(),
            settings={name: model.model_validate(given) for name, model in sections.items()},
            n_train=10,
            seed=setting.seed,
            device=torch.device(setting.device),
            length=TrainingLength(1, 10),
            priors=_save_priors(setting, Path(folder)) if kind.network == _DWP else (),
        )


def _save_priors(setting: StepSetting, folder: Path) -> tuple[Path, ...]:
    layers = kernel_layers(UNet3D(channels=setting.channels))
    folders = []
    for group in sorted({layer.group for layer in layers}):
        scale = {layer.name: 0.05 for layer in layers if layer.group == group}
        folders.append(folder / f"group{group}")
        save_prior(KernelPrior(group, KernelVAE(), scale, "layer"), folders[-1])
    return tuple(folders)
