"""The U-Net of the paper built by others' means: of plain torch modules, and of MONAI's blocks.

The same layers, parameters and function as `dwp_sweep.nets.unet3d.UNet3D`, as one would write them down from
Appendix B; what its step is compared with. Volumes must have edges that are multiples of 8.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dwp_sweep.nets.unet3d import UNetConfig

Block = Callable[..., nn.Module]
"""``(in_channels, out_channels, kernel_size=3, stride=1)`` to a ConvBlock."""


class ListedNetwork(nn.Module):
    """The listing of Appendix B.

    Args:
        config: Shape of the network.
        conv: Bare convolution of a kernel size.
        block: InstanceNorm, ReLU, convolution.
        upsample: ConvBlock 1x1x1, then trilinear doubling.
    """

    def __init__(self, config: UNetConfig, conv: Block, block: Block, upsample: Block) -> None:
        super().__init__()
        a, b, c, d = config.channels
        self.init_conv = conv(config.in_channels, a, 3)
        shapes = [(a, b, 2), (b, b, 1), (b, c, 2), (c, c, 1), (c, d, 2), (d, d, 1)]
        self.downs = nn.ModuleList(_Down(block, *shape) for shape in shapes)
        self.ups = nn.ModuleList(_Up(block, upsample, *shape) for shape in [(d, c), (c, b), (b, a)])
        self.out = conv(a, config.n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, D, H, W)`` to logits ``(B, n_classes, D, H, W)``."""
        levels = [self.init_conv(x)]
        for down in self.downs:
            levels.append(down(levels[-1]))
        up = levels[6]
        for block, skip in zip(self.ups, (levels[4], levels[2], levels[0]), strict=True):
            up = block(up, skip)
        logits: Tensor = self.out(up)
        return logits


class _Down(nn.Module):
    def __init__(self, block: Block, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = block(n_in, n_out, stride=stride), block(n_out, n_out)
        self.down = block(n_in, n_out, kernel_size=1, stride=stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv_2(self.conv_1(x)) + self.down(x)
        return result


class _Up(nn.Module):
    def __init__(self, block: Block, upsample: Block, n_in: int, n_out: int) -> None:
        super().__init__()
        self.upsample = upsample(n_in, n_out)
        self.conv_1, self.conv_2 = block(n_out, n_out), block(n_out, n_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.upsample(x) + skip
        result: Tensor = self.conv_2(self.conv_1(x)) + x
        return result


def plain_network(config: UNetConfig) -> ListedNetwork:
    """Of torch's modules."""

    def conv(n_in: int, n_out: int, kernel_size: int = 3, stride: int = 1) -> nn.Module:
        return nn.Conv3d(n_in, n_out, kernel_size, stride, padding=kernel_size // 2, bias=False)

    def block(n_in: int, n_out: int, kernel_size: int = 3, stride: int = 1) -> nn.Module:
        return nn.Sequential(nn.InstanceNorm3d(n_in), nn.ReLU(), conv(n_in, n_out, kernel_size, stride))

    def upsample(n_in: int, n_out: int) -> nn.Module:
        double = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
        return nn.Sequential(block(n_in, n_out, kernel_size=1), double)

    return ListedNetwork(config, conv, block, upsample)


def monai_network(config: UNetConfig) -> ListedNetwork:
    """Of MONAI's `ADN`, `Convolution` and `UpSample`."""
    # Here, for it takes seconds.
    from monai.networks.blocks.acti_norm import ADN
    from monai.networks.blocks.convolutions import Convolution
    from monai.networks.blocks.upsample import UpSample

    def conv(n_in: int, n_out: int, kernel_size: int = 3, stride: int = 1) -> nn.Module:
        whole: nn.Module = Convolution(
            3, n_in, n_out, strides=stride, kernel_size=kernel_size, bias=False, conv_only=True
        )
        return whole

    def before(n_channels: int) -> nn.Module:
        adn: nn.Module = ADN("NA", in_channels=n_channels, act="RELU", norm="INSTANCE", norm_dim=3)
        return adn

    def block(n_in: int, n_out: int, kernel_size: int = 3, stride: int = 1) -> nn.Module:
        return nn.Sequential(before(n_in), conv(n_in, n_out, kernel_size, stride))

    def upsample(n_in: int, n_out: int) -> nn.Module:
        # Its own convolution before is left out where the channels stay the same: up2 would have none.
        double = UpSample(
            3, n_out, n_out, mode="nontrainable", pre_conv=None, interp_mode="linear", align_corners=True
        )
        return nn.Sequential(block(n_in, n_out, kernel_size=1), double)

    return ListedNetwork(config, conv, block, upsample)
