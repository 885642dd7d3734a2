"""The 3D U-Net that every method trains: residual, pre-activation, 726,480 parameters by default.

Source networks and target networks are this network. It takes volumes of any size: it pads to what its three
halvings need and crops back. Source: Figure 1 and Appendix B of the paper; 1x1x1 convolutions in the skip
branches and before the upsampling, no bias anywhere, which is what the paper's number of parameters asks
for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from dwp_sweep.nets.bayes_conv import recomputed
from dwp_sweep.nets.layers import Conv3d, norm_relu
from dwp_sweep.strict import StrictModel

REDUCTION = 8
"""The bottleneck has one voxel for 8 x 8 x 8 voxels of the input."""

_MAX_CHANNELS = 2_048


class UNetConfig(StrictModel):
    """Shape of a `UNet3D`.

    Attributes:
        in_channels: Channels of the input volume.
        n_classes: Output channels, background first.
        channels: Feature channels at full, half, quarter and eighth resolution.
    """

    in_channels: int = Field(default=1, ge=1, le=1_000)
    n_classes: int = Field(default=2, ge=2, le=1_000)
    channels: tuple[int, int, int, int] = (16, 32, 32, 64)

    def model_post_init(self, context: object) -> None:
        """Refuse channel numbers below one, and those of which one layer alone has gigabytes of weights."""
        if min(self.channels) < 1 or max(self.channels) > _MAX_CHANNELS:
            allowed = f"at least 1 and at most {_MAX_CHANNELS}"
            raise ValueError(f"channels must all be {allowed}, not {list(self.channels)}")


class DownBlock(nn.Module):
    """Two pre-activated 3x3x3 convolutions around an identity, or a strided 1x1x1, branch."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv_1 = _conv(in_channels, out_channels, 3, stride)
        self.conv_2 = _conv(out_channels, out_channels, 3)
        self.down = _conv(in_channels, out_channels, 1, stride) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, D, H, W)`` to ``(B, out, D / stride, H / stride, W / stride)``."""
        active = norm_relu(x)  # one normalisation serves both branches: it has no weights
        branch = x if self.down is None else self.down(active)
        out: Tensor = self.conv_2(norm_relu(self.conv_1(active)))
        return out.add_(branch)


class UpBlock(nn.Module):
    """1x1x1 convolution, trilinear x2, plus the encoder's output, then a residual pair of 3x3x3."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample = _conv(in_channels, out_channels, 1)
        self.conv_1 = _conv(out_channels, out_channels, 3)
        self.conv_2 = _conv(out_channels, out_channels, 3)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``(B, in, D, H, W)`` and a skip ``(B, out, 2D, 2H, 2W)`` to the shape of the skip."""
        narrow = self.upsample(norm_relu(x))
        up = F.interpolate(narrow, scale_factor=2, mode="trilinear", align_corners=True).add_(skip)
        out: Tensor = self.conv_2(norm_relu(self.conv_1(norm_relu(up))))
        return out.add_(up)


class UNet3D(nn.Module):
    """Residual 3D U-Net of the paper.

    The convolutions are plain submodules (``down1.conv_1``, ...), so that another convolution can take
    the place of any of them by ``setattr``. Parameters are in the order of the blocks below.

    Args:
        in_channels: Channels of the input volume.
        n_classes: Output channels, background first.
        channels: Feature channels at full, half, quarter and eighth resolution.

    Attributes:
        channels_last: Store the activations voxel by voxel instead of channel by channel; None: on CPUs,
            whose convolutions then need no reordering. The same function up to rounding.
        checkpointing: Drop the activations inside the blocks and compute them again for the gradient.
        background: Value of its scans where there is nothing; what pads them.

    Raises:
        pydantic.ValidationError: If a number is out of range.
    """

    channels_last: bool | None = None
    checkpointing: bool = False
    background: float = 0.0

    def __init__(
        self,
        in_channels: int = 1,
        n_classes: int = 2,
        channels: tuple[int, int, int, int] = (16, 32, 32, 64),
    ) -> None:
        super().__init__()
        self.config = UNetConfig(in_channels=in_channels, n_classes=n_classes, channels=channels)
        full, half, quarter, eighth = self.config.channels
        self.init_conv = _conv(in_channels, full, 3)
        self.down1 = DownBlock(full, half, stride=2)
        self.down2 = DownBlock(half, half)
        self.down3 = DownBlock(half, quarter, stride=2)
        self.down4 = DownBlock(quarter, quarter)
        self.down5 = DownBlock(quarter, eighth, stride=2)
        self.down6 = DownBlock(eighth, eighth)
        self.up1 = UpBlock(eighth, quarter)
        self.up2 = UpBlock(quarter, half)
        self.up3 = UpBlock(half, full)
        self.out = _conv(full, n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every voxel.

        Args:
            x: ``(B, in_channels, D, H, W)``, any sizes.

        Returns:
            ``(B, n_classes, D, H, W)``.

        Raises:
            ValueError: If the input has another number of axes or channels, or an empty axis.
        """
        _check_input(x, self.config.in_channels)
        logits: Tensor = self._padded(self._laid_out(pad_to_fit(x, self.background)))
        depth, height, width = x.shape[2:]
        return logits[:, :, :depth, :height, :width]

    def _laid_out(self, x: Tensor) -> Tensor:
        last = x.device.type == "cpu" if self.channels_last is None else self.channels_last
        if not last:
            return x
        # Not `contiguous`: it leaves the strides of a single channel, by which the first convolution goes.
        return torch.empty_like(x, memory_format=torch.channels_last_3d).copy_(x)

    def _padded(self, x: Tensor) -> Tensor:
        run = self._run
        full = self.init_conv(x)  # (B, 16, D, H, W)
        half = run(self.down2, run(self.down1, full))  # (B, 32, D/2, H/2, W/2)
        quarter = run(self.down4, run(self.down3, half))  # (B, 32, D/4, H/4, W/4)
        bottom = run(self.down6, run(self.down5, quarter))  # (B, 64, D/8, H/8, W/8)
        up = run(self.up2, run(self.up1, bottom, quarter), half)  # (B, 32, D/2, H/2, W/2)
        logits: Tensor = self.out(run(self.up3, up, full))  # (B, 16, D, H, W) before `out`
        return logits

    def _run(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return recomputed(block, *inputs)
        output: Tensor = block(*inputs)
        return output


def padded_size(size: tuple[int, int, int]) -> tuple[int, int, int]:
    """The smallest size at which the network can work: multiples of 8, one axis of at least 16.

    With 8 x 8 x 8 voxels the bottleneck would be a single voxel, which InstanceNorm cannot normalise;
    then the longest axis (the last of equals) grows to 16.
    """
    padded = [-(-n // REDUCTION) * REDUCTION for n in size]
    if max(padded) < 2 * REDUCTION:
        longest = max(range(3), key=lambda axis: (size[axis], axis))
        padded[longest] = 2 * REDUCTION
    return padded[0], padded[1], padded[2]


def pad_to_fit(x: Tensor, background: float = 0.0) -> Tensor:
    """``x`` with background behind each axis; ``x`` itself if it fits."""
    size = (x.shape[2], x.shape[3], x.shape[4])
    depth, height, width = (new - old for new, old in zip(padded_size(size), size, strict=True))
    if depth == height == width == 0:
        return x
    return F.pad(x, (0, width, 0, height, 0, depth), value=background)


def he_init(net: nn.Module, generator: torch.Generator) -> None:
    """Draw all convolution weights, in their order, from He's normal distribution (fan in, ReLU).

    The mean of a variational convolution counts as its weight; its variance stays as it is.

    Args:
        net: Changed in place.
        generator: On the device of the weights.
    """
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.dim() == 5 and not name.endswith("log_var"):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Module:
    return Conv3d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)


def _check_input(x: Tensor, in_channels: int) -> None:
    if x.dim() != 5 or x.shape[1] != in_channels or min(x.shape) < 1:
        raise ValueError(
            f"the network takes volumes of shape (B, {in_channels}, D, H, W), not {tuple(x.shape)}"
        )
