"""How a target network starts: its weights, the scale of its kernels, and the rate of each layer.

Priors describe standardised kernels. The target's kernels need not have the scale of the source
networks': a He start is larger than kernels that weight decay has shrunk, and rescaled filters are as
well. So the unit is measured on the network that starts, and follows its filters when they are rescaled.

The output of ``conv_1`` in each of the nine blocks goes only into an InstanceNorm, so the scale of its
filters changes nothing, yet weight decay shrinks them and Adam's step is then large against them. A
source network may hence be brought back to the norm of a He start before it is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dwp_sweep.losses.segmentation import segmentation_loss
from dwp_sweep.methods.contract import MethodInputs, TrainingSetup
from dwp_sweep.nets.bayes_conv import BayesConv3d
from dwp_sweep.nets.kernel_bank import Standardise
from dwp_sweep.nets.kernel_groups import KernelLayer, as_kernels, kernel_layers, kernel_weight
from dwp_sweep.nets.net_files import load_net, read_net_facts
from dwp_sweep.nets.unet3d import UNet3D, he_init
from dwp_sweep.training.compute import named_generator

Scales = Mapping[str, Tensor]
"""By layer name, ``(n, 1)``: raw weight of one standardised unit for each kernel of the layer."""

SMALLEST_SHARE_OF_HE = 1e-3
"""Units below this share of the He deviation are raised to it: dead filters would divide by nothing."""

SMALLEST_NORM = 0.03
"""Filters below this keep their scale: InstanceNorm's epsilon (1e-5) then damps their output, so the
function does see their scale; growing such a filter would wake what weight decay has switched off."""


@dataclass(frozen=True)
class Rescaled:
    """How many filters were brought to He norm and how many were too small to be."""

    n_rescaled: int
    n_left: int


def he_std(net: nn.Module, layer: KernelLayer) -> float:
    """Standard deviation of a layer's weights at a He start: ``sqrt(2 / (27 * in_channels))``."""
    weight = kernel_weight(net.get_submodule(layer.name))
    return float((2 / weight[0].numel()) ** 0.5)


@torch.no_grad()
def measured_scales(net: nn.Module, standardise: Standardise) -> dict[str, Tensor]:
    """Root mean square of the weights of each kernel's group, layer or filter in this network; or 1."""
    layers = kernel_layers(net)
    if standardise == "none":
        return constant_scales(net, {layer.name: 1.0 for layer in layers})
    mean_squares = {layer.name: _mean_squares(net, layer, standardise) for layer in layers}
    if standardise == "group":
        mean_squares = _pooled(layers, mean_squares)
    return {
        layer.name: mean_squares[layer.name].sqrt().clamp_min(SMALLEST_SHARE_OF_HE * he_std(net, layer))
        for layer in layers
    }


def constant_scales(net: nn.Module, scale: Mapping[str, float]) -> dict[str, Tensor]:
    """The same unit for all kernels of a layer.

    Args:
        net: Whose kernels are counted.
        scale: By layer name; every 3x3x3 convolution is there.
    """
    return {layer.name: torch.full((layer.n_kernels, 1), scale[layer.name]) for layer in kernel_layers(net)}


def rescale_invariant(net: nn.Module, smallest_norm: float = SMALLEST_NORM) -> Rescaled:
    """Bring each filter of the scale-invariant layers to the norm of a He start, in place.

    The expected squared norm of a He filter of any size is 2. The function of the network stays the same
    up to InstanceNorm's epsilon: relative change of a filter's output about ``1e-5 / norm ** 2``.

    Args:
        net: A `UNet3D`; of variational layers, mean and variance are rescaled together.
        smallest_norm: Filters with a norm below this are left as they are.

    Returns:
        Counts of filters.
    """
    n_rescaled = n_left = 0
    for layer in kernel_layers(net):
        if not layer.name.endswith(".conv_1"):
            continue
        kept = _rescale(net.get_submodule(layer.name), smallest_norm)
        n_rescaled += int(kept.sum())
        n_left += int((~kept).sum())
    return Rescaled(n_rescaled, n_left)


@torch.no_grad()
def rescale_with_scales(net: nn.Module, scales: Scales) -> dict[str, Tensor]:
    """Bring scale-invariant filters to He norm (in place) and let the units follow.

    Standardised kernels stay what they were, so a prior fitted before the rescaling still holds.
    """
    before = _filter_norms(net)
    rescale_invariant(net)
    after = _filter_norms(net)
    factors = {name: torch.where(norm > 0, after[name] / norm, 1.0) for name, norm in before.items()}
    return {
        name: unit * factors[name].repeat_interleave(len(unit) // len(factors[name])).unsqueeze(1)
        for name, unit in scales.items()
    }


def _mean_squares(net: nn.Module, layer: KernelLayer, standardise: Standardise) -> Tensor:
    weight = kernel_weight(net.get_submodule(layer.name))
    squares = as_kernels(weight).square().mean(dim=1)
    if standardise == "filter":
        per_filter = squares.view(len(weight), -1)
        return per_filter.mean(dim=1, keepdim=True).expand_as(per_filter).reshape(-1, 1).clone()
    return squares.mean().expand(layer.n_kernels, 1).clone()


def _pooled(layers: tuple[KernelLayer, ...], mean_squares: Scales) -> dict[str, Tensor]:
    pooled: dict[str, Tensor] = {}
    for group in {layer.group for layer in layers}:
        names = [layer.name for layer in layers if layer.group == group]
        mean = torch.cat([mean_squares[name] for name in names]).mean()
        pooled |= {name: mean.expand_as(mean_squares[name]).clone() for name in names}
    return pooled


@torch.no_grad()
def _rescale(conv: nn.Module, smallest_norm: float) -> Tensor:
    weight = kernel_weight(conv)
    norm: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    large: Tensor = norm >= smallest_norm
    factor = torch.where(large, 2**0.5 / norm.clamp_min(smallest_norm), 1.0).view(-1, 1, 1, 1, 1)
    weight.mul_(factor)
    if isinstance(conv, BayesConv3d):
        conv.log_var.add_(2 * factor.log())
    return large


def _filter_norms(net: nn.Module) -> dict[str, Tensor]:
    return {
        layer.name: kernel_weight(net.get_submodule(layer.name)).flatten(1).norm(dim=1)
        for layer in kernel_layers(net)
    }


CLEARLY_SMALLER = 0.9
"""Share of the He deviation below which a layer counts as shrunk: a He start itself varies a little."""


def new_network(inputs: MethodInputs) -> UNet3D:
    """A He-initialised U-Net (Section 2.7), on the CPU."""
    unet = inputs.unet
    net = UNet3D(unet.in_channels, unet.n_classes, unet.channels)
    he_init(net, named_generator(inputs.seed, "init"))
    return net


HEAD = "out.weight"
"""Of the network: the one layer whose shape and meaning depend on the classes."""


def has_new_head(inputs: MethodInputs) -> bool:
    """Whether the source network tells other classes apart than the target: its last layer is then no start.

    Args:
        inputs: With ``source`` set.
    """
    assert inputs.source is not None, "Method.needs names 'source'"
    facts = read_net_facts(inputs.source)
    return facts.class_names != inputs.classes or facts.unet.n_classes != inputs.unet.n_classes


def load_source(inputs: MethodInputs) -> UNet3D:
    """The source network as it was trained, on the CPU; with a new head where it tells other classes apart.

    A new head is that of a He start of the same seed (`new_network`).

    Args:
        inputs: With ``source`` set.

    Raises:
        ValueError: If the source network has other channels than the target's.
    """
    assert inputs.source is not None, "Method.needs names 'source'"
    weights, expected = load_net(inputs.source).state_dict(), new_network(inputs)
    if has_new_head(inputs):
        weights[HEAD] = expected.state_dict()[HEAD]
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    wanted = {name: tuple(value.shape) for name, value in expected.state_dict().items()}
    odd = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
    if odd:
        raise ValueError(
            f"{inputs.source}: the source network does not fit the target's unet section; {odd[0]} has shape "
            f"{shapes.get(odd[0])}, expected {wanted.get(odd[0])} ({len(odd)} of {len(wanted)} differ)"
        )
    expected.load_state_dict(weights)
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

    def data_loss(logits: Tensor, masks: Tensor, n_patches: Tensor | None = None) -> Tensor:
        return segmentation_loss(logits, masks, inputs.loss, n_patches).loss

    return TrainingSetup(
        net=net,
        state=net,
        param_groups=weight_groups(net, inputs, list(net.parameters()) if trainable is None else trainable),
        batch_loss=lambda logits, masks, step, n_patches=None: {"loss": data_loss(logits, masks, n_patches)},
        data_loss=data_loss,
    )
