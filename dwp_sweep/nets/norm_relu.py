"""InstanceNorm without weights, then ReLU: the first two steps of the paper's ConvBlock.

One function in two forms: torch's own operations, and on CPUs, for volumes stored channels last, a form whose
gradient does not leave that layout. Used between the convolutions of the U-Net; knows nothing of them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

EPS = 1e-5
"""Added to the variance, as `torch.nn.InstanceNorm3d` does."""


def norm_relu(x: Tensor) -> Tensor:
    """Normalise every channel of every image to mean 0 and variance 1, then cut at 0.

    A bfloat16 input is normalised by statistics that were summed in float32; channels last, they are kept
    for the gradient in bfloat16.

    Args:
        x: ``(B, C, D, H, W)`` with more than one voxel.

    Returns:
        The same shape, type and layout (layout: on CPUs).
    """
    if _is_channels_last_on_cpu(x) and not torch.compiler.is_compiling():
        active: Tensor = _ChannelsLast.apply(x)  # type: ignore[no-untyped-call]
        return active
    # On CPUs a bfloat16 statistic would spoil the gradient of channels far from 0. Not in place: the
    # normalised volume is a view for autograd, which would copy its gradient.
    wide = x.float() if x.device.type == "cpu" and x.dtype == torch.bfloat16 else x
    return F.relu(F.instance_norm(wide, eps=EPS).to(x.dtype))


class _ChannelsLast(torch.autograd.Function):
    """Group norm forward, batch norm of one image backward: the pair that torch does fast in this layout.

    `instance_norm` would copy to channels first and back, and the gradient of `group_norm` takes twenty times
    as long as its forward pass. ReLU's output is kept for both: the next convolution keeps it anyway.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n_images, n_channels, *size = x.shape
        n_voxels = size[0] * size[1] * size[2]
        normed, mean, inverse_std = torch.ops.aten.native_group_norm(
            x, None, None, n_images, n_channels, n_voxels, n_channels, EPS
        )
        active: Tensor = normed.relu_()
        ctx.save_for_backward(x, active, mean, inverse_std)
        return active

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, active, mean, inverse_std = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        through = torch.ops.aten.threshold_backward(gradient, active, 0)
        images = zip(through.split(1), x.split(1), _wide(mean), _wide(inverse_std), strict=True)
        return torch.cat([_batch_norm_backward(*image) for image in images])


def _is_channels_last_on_cpu(x: Tensor) -> bool:
    if x.device.type != "cpu" or x.is_contiguous():
        return False
    return x.is_contiguous(memory_format=torch.channels_last_3d)


def _wide(statistics: Tensor) -> Tensor:
    return statistics if statistics.dtype == torch.float64 else statistics.float()


def _batch_norm_backward(gradient: Tensor, x: Tensor, mean: Tensor, inverse_std: Tensor) -> Tensor:
    # Of a batch of one image, batch norm and instance norm are the same.
    result: Tensor = torch.ops.aten.native_batch_norm_backward(
        gradient, x, None, None, None, mean, inverse_std, True, EPS, [True, False, False]
    )[0]
    return result
