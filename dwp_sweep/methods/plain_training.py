"""Training of a deterministic network: shared by random init, fine-tuning and freezing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dwp_sweep.losses.segmentation import segmentation_loss
from dwp_sweep.methods.contract import MethodInputs, TrainingSetup
from dwp_sweep.methods.kernel_scale import SMALLEST_SHARE_OF_HE, he_std, rescale_invariant
from dwp_sweep.nets.kernel_groups import kernel_layers, kernel_weight
from dwp_sweep.nets.net_files import load_net
from dwp_sweep.nets.unet3d import UNet3D, he_init
from dwp_sweep.training.compute import named_generator

CLEARLY_SMALLER = 0.9
"""Share of the He deviation below which a layer counts as shrunk: a He start itself varies a little."""


def new_network(inputs: MethodInputs) -> UNet3D:
    """A He-initialised U-Net (Section 2.7), on the CPU."""
    unet = inputs.unet
    net = UNet3D(unet.in_channels, unet.n_classes, unet.channels)
    he_init(net, named_generator(inputs.seed, "init"))
    return net


def load_source(inputs: MethodInputs) -> UNet3D:
    """The source network (seed 0, cycle 0) as it was trained, on the CPU.

    Args:
        inputs: With ``source`` set.

    Raises:
        ValueError: If the source network has other channels than the target's.
    """
    assert inputs.source is not None, "Method.needs names 'source'"
    net = load_net(inputs.source)
    expected = UNet3D(inputs.unet.in_channels, inputs.unet.n_classes, inputs.unet.channels)
    _require_same_shapes(net, expected, inputs.source)
    expected.load_state_dict(net.state_dict())
    return expected


def source_network(inputs: MethodInputs) -> UNet3D:
    """The source network, rescaled where the inputs ask for it."""
    net = load_source(inputs)
    if inputs.rescale:
        rescale_invariant(net)
    return net


def weight_groups(
    net: nn.Module, inputs: MethodInputs, trainable: Sequence[nn.Parameter]
) -> list[dict[str, Any]]:
    """Optimiser groups for weights: one, or with ``lr_by_scale`` one a layer of small kernels.

    Adam moves every weight by about the rate, whatever its size: at 1e-3 a layer that weight decay has
    left at 0.003 is overwritten in a few steps. Its rate is lowered by its share of the He deviation.

    Args:
        net: Starts as it is now.
        inputs: With the rate and whether it follows the scale.
        trainable: Parameters of ``net`` to group.
    """
    if not inputs.lr_by_scale:
        return [{"params": list(trainable)}]
    chosen = {id(parameter) for parameter in trainable}
    small: list[dict[str, Any]] = []
    for layer in kernel_layers(net):
        weight = kernel_weight(net.get_submodule(layer.name))
        share = float(weight.detach().square().mean().sqrt()) / he_std(net, layer)
        if id(weight) in chosen and share < CLEARLY_SMALLER:
            chosen.remove(id(weight))
            small.append({"params": [weight], "lr": inputs.lr * max(share, SMALLEST_SHARE_OF_HE)})
    full = [parameter for parameter in trainable if id(parameter) in chosen]
    return [{"params": full}, *small]  # the schedule's end is read from the first group: the full rate


def prepare_plain(
    net: nn.Module, inputs: MethodInputs, trainable: Sequence[nn.Parameter] | None = None
) -> TrainingSetup:
    """Minimise the segmentation loss over the given parameters (all by default)."""
    net = net.to(inputs.device)

    def data_loss(logits: Tensor, masks: Tensor) -> Tensor:
        return segmentation_loss(logits, masks, inputs.loss).loss

    return TrainingSetup(
        net=net,
        state=net,
        param_groups=weight_groups(net, inputs, list(net.parameters()) if trainable is None else trainable),
        batch_loss=lambda logits, masks, step: {"loss": data_loss(logits, masks)},
        data_loss=data_loss,
    )


def _require_same_shapes(net: nn.Module, expected: nn.Module, source: Path) -> None:
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    wanted = {name: tuple(value.shape) for name, value in expected.state_dict().items()}
    odd = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
    if odd:
        raise ValueError(
            f"{source}: the source network does not fit the target's unet section; {odd[0]} has shape "
            f"{shapes.get(odd[0])}, expected {wanted.get(odd[0])} ({len(odd)} of {len(wanted)} differ)"
        )
