"""The layers of the networks, by the route that is right and fast on a device: convolution, norm and ReLU.

Used by plain and variational networks alike.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SMALLEST_BF16_EDGE = 4
"""On CPUs, outputs with a shorter edge are computed in float32. oneDNN's bfloat16 weight gradient of a 3x3x3
convolution is garbage, or written beside its memory, where the output has edges of 2 (seen in torch 2.13)."""

EPS = 1e-5
"""Added to the variance, as `torch.nn.InstanceNorm3d` does."""


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` without bias, through `conv3d`."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, D, H, W)`` to ``(B, out, D', H', W')``."""
        return conv3d(x, self.weight, self.stride[0], int(self.padding[0]))


def conv3d(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """`torch.nn.functional.conv3d`, the same for the three axes, in the layout of ``x``.

    Args:
        x: ``(B, in, D, H, W)``.
        weight: ``(out, in, k, k, k)``.
        stride: Step between the outputs.
        padding: Zeros at each side of each axis.
    """
    if x.device.type != "cpu":
        return F.conv3d(x, weight, None, stride, padding)
    edge = weight.shape[2]
    if edge == stride == 1 and padding == 0 and _is_channels_last(x):
        return _pointwise(x, weight)
    if torch.is_autocast_enabled("cpu") and edge > 1 and _shortest_output(x, stride) < SMALLEST_BF16_EDGE:
        kind = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            return F.conv3d(x.float(), weight.float(), None, stride, padding).to(kind)
    if _would_take_the_slow_route(x):
        return _by_onednn(x, weight, stride, padding)
    return F.conv3d(x, weight, None, stride, padding)


def norm_relu(x: Tensor) -> Tensor:
    """Normalise every channel of every image to mean 0 and variance 1, then cut at 0.

    A bfloat16 input is normalised by statistics that were summed in float32; channels last, they are kept
    for the gradient in bfloat16.

    Args:
        x: ``(B, C, D, H, W)`` with more than one voxel.

    Returns:
        The same shape, type and layout (layout: on CPUs).
    """
    if x.device.type == "cpu" and _is_channels_last(x) and not torch.compiler.is_compiling():
        active: Tensor = _ChannelsLast.apply(x)  # type: ignore[no-untyped-call]
        return active
    # On CPUs a bfloat16 statistic would spoil the gradient of channels far from 0. Not in place: the
    # normalised volume is a view for autograd, which would copy its gradient.
    wide = x.float() if x.device.type == "cpu" and x.dtype == torch.bfloat16 else x
    return F.relu(F.instance_norm(wide, eps=EPS).to(x.dtype))


def _would_take_the_slow_route(x: Tensor) -> bool:
    # torch leaves one image on one thread to its own convolution, four times slower than oneDNN's. Networks
    # predict that way: whole volumes, one by one, in a process that has one core.
    is_alone = len(x) == 1 and torch.get_num_threads() == 1
    has_onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return is_alone and not torch.is_grad_enabled() and has_onednn


def _by_onednn(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        x, weight = x.to(kind), weight.to(kind)
    if x.dtype == torch.float64:
        return F.conv3d(x, weight, None, stride, padding)
    output: Tensor = torch.ops.aten.mkldnn_convolution(
        x, weight, None, [padding] * 3, [stride] * 3, [1] * 3, 1
    )
    return output


def _pointwise(x: Tensor, weight: Tensor) -> Tensor:
    # With one thread torch takes 1x1x1 convolutions by an old route: five times slower and channels first.
    voxels = x.permute(0, 2, 3, 4, 1)  # (B, D, H, W, in)
    return F.linear(voxels, weight.flatten(1)).permute(0, 4, 1, 2, 3)


def _shortest_output(x: Tensor, stride: int) -> int:
    return (min(x.shape[2:]) - 1) // stride + 1


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


def _wide(statistics: Tensor) -> Tensor:
    return statistics if statistics.dtype == torch.float64 else statistics.float()


def _batch_norm_backward(gradient: Tensor, x: Tensor, mean: Tensor, inverse_std: Tensor) -> Tensor:
    # Of a batch of one image, batch norm and instance norm are the same.
    result: Tensor = torch.ops.aten.native_batch_norm_backward(
        gradient, x, None, None, None, mean, inverse_std, True, EPS, [True, False, False]
    )[0]
    return result


def _is_channels_last(x: Tensor) -> bool:
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last_3d)
