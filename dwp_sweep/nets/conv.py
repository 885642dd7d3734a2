"""The one convolution of the networks: torch's, by the route that is right and fast on the device at hand.

Used by plain and variational layers alike; knows neither the network nor where weights come from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_BF16_EDGE = 4
"""On CPUs, outputs with a shorter edge are computed in float32. oneDNN's bfloat16 weight gradient of a 3x3x3
convolution is garbage, or written beside its memory, where the output has edges of 2 (seen in torch 2.13)."""


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


def _is_channels_last(x: Tensor) -> bool:
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last_3d)


def _shortest_output(x: Tensor, stride: int) -> int:
    return (min(x.shape[2:]) - 1) // stride + 1
