"""The U-Net against the paper's parameter count and an independent module-by-module build."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from dwp_sweep.nets.unet3d import UNet3D, UNetConfig, he_init, pad_to_fit, padded_size

PARAMETERS_OF_BLOCK = {
    "init_conv": 432,
    "down1": 13_824 + 27_648 + 512,
    "down2": 55_296,
    "down3": 55_296 + 1_024,
    "down4": 55_296,
    "down5": 55_296 + 110_592 + 2_048,
    "down6": 221_184,
    "up1": 2_048 + 55_296,
    "up2": 1_024 + 55_296,
    "up3": 512 + 13_824,
    "out": 32,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_net(seed: int = 0) -> UNet3D:
    net = UNet3D(channels=(4, 8, 8, 16))
    he_init(net, seeded(seed))
    return net


def conv_block(n_in: int, n_out: int, k: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv3d(n_in, n_out, k, stride, padding=k // 2, bias=False)
    return nn.Sequential(nn.InstanceNorm3d(n_in), nn.ReLU(), conv)


class AppendixB(nn.Module):
    """The listing of Appendix B, built of modules, for volumes that need no padding."""

    def __init__(self, a: int, b: int, c: int, d: int) -> None:
        super().__init__()
        downs = [(a, b, 2), (b, b, 1), (b, c, 2), (c, c, 1), (c, d, 2), (d, d, 1)]
        self.init_conv = nn.Conv3d(1, a, 3, padding=1, bias=False)
        self.downs = nn.ModuleList(self._down(*sizes) for sizes in downs)
        self.ups = nn.ModuleList(self._up(*sizes) for sizes in [(d, c), (c, b), (b, a)])
        self.out = nn.Conv3d(a, 2, 1, bias=False)

    @staticmethod
    def _down(n_in: int, n_out: int, stride: int) -> nn.ModuleList:
        convs = [conv_block(n_in, n_out, stride=stride), conv_block(n_out, n_out)]
        return nn.ModuleList([*convs, conv_block(n_in, n_out, 1, stride)] if stride == 2 else convs)

    @staticmethod
    def _up(n_in: int, n_out: int) -> nn.ModuleList:
        upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
        first = nn.Sequential(conv_block(n_in, n_out, 1), upsample)
        return nn.ModuleList([first, conv_block(n_out, n_out), conv_block(n_out, n_out)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.init_conv(x)
        outputs = [x]
        for conv_1, conv_2, *down in self.downs:
            x = conv_2(conv_1(x)) + (down[0](x) if down else x)
            outputs.append(x)
        for (upsample, conv_1, conv_2), skip in zip(
            self.ups, (outputs[4], outputs[2], outputs[0]), strict=True
        ):
            x = upsample(x) + skip
            x = conv_2(conv_1(x)) + x
        return self.out(x)


def test_default_network_has_the_parameter_count_of_the_paper_block_by_block() -> None:
    net = UNet3D()
    counts = {name: sum(p.numel() for p in block.parameters()) for name, block in net.named_children()}
    assert counts == PARAMETERS_OF_BLOCK
    assert sum(counts.values()) == 726_480
    assert list(counts) == list(PARAMETERS_OF_BLOCK)


def test_parameters_are_created_in_the_order_of_the_paper() -> None:
    names = [name.removesuffix(".weight") for name, _ in UNet3D().named_parameters()]
    assert names[:6] == [
        "init_conv",
        "down1.conv_1",
        "down1.conv_2",
        "down1.down",
        "down2.conv_1",
        "down2.conv_2",
    ]
    assert names[-4:] == ["up3.upsample", "up3.conv_1", "up3.conv_2", "out"]
    assert len(names) == 26


@pytest.mark.parametrize("channels", [(16, 32, 32, 64), (3, 4, 5, 6)])
def test_network_computes_what_the_listing_of_the_paper_computes(channels: tuple[int, int, int, int]) -> None:
    net, reference = UNet3D(channels=channels), AppendixB(*channels)
    he_init(net, seeded())
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    x = torch.randn(2, 1, 16, 24, 16, generator=seeded(1))
    ours, theirs = net(x), reference(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    ours.square().mean().backward()
    theirs.square().mean().backward()
    for p, q in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4 * float(q.grad.abs().max()) + 1e-7)


@pytest.mark.parametrize("size", [(22, 9, 5), (8, 8, 8), (1, 1, 1), (16, 16, 16), (7, 33, 8)])
def test_any_size_comes_back_as_it_went_in_and_trains(size: tuple[int, int, int]) -> None:
    net = small_net().train()
    logits = net(torch.randn(1, 1, *size, generator=seeded()))
    assert logits.shape == (1, 2, *size)
    logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        ((22, 9, 5), (24, 16, 8)),
        ((8, 8, 8), (8, 8, 16)),
        ((8, 5, 7), (16, 8, 8)),
        ((1, 1, 1), (8, 8, 16)),
        ((32, 32, 32), (32, 32, 32)),
        ((152, 184, 144), (152, 184, 144)),
        ((448, 512, 22), (448, 512, 24)),
    ],
)
def test_padding_is_the_least_that_leaves_two_voxels_at_the_bottleneck(
    size: tuple[int, int, int], padded: tuple[int, int, int]
) -> None:
    assert padded_size(size) == padded


def test_a_volume_that_fits_is_not_copied() -> None:
    x = torch.zeros(1, 1, 16, 8, 24)
    assert pad_to_fit(x) is x


def test_a_padded_volume_gives_what_the_user_would_get_by_padding_zeros() -> None:
    net = small_net().eval()
    x = torch.randn(1, 1, 22, 16, 13, generator=seeded())
    by_hand = net(F.pad(x, (0, 3, 0, 0, 0, 2)))[:, :, :22, :, :13]
    torch.testing.assert_close(net(x), by_hand)


def test_a_padded_volume_is_padded_with_its_own_background() -> None:
    net = small_net().eval()
    x = torch.randn(1, 1, 22, 16, 13, generator=seeded())
    with_zeros = net(x)
    net.background = -1.0
    by_hand = net(F.pad(x, (0, 3, 0, 0, 0, 2), value=-1.0))[:, :, :22, :, :13]
    torch.testing.assert_close(net(x), by_hand)
    assert not torch.allclose(net(x), with_zeros)


@pytest.mark.parametrize("shape", [(1, 2, 16, 16, 16), (1, 16, 16, 16), (1, 1, 0, 16, 16)])
def test_wrong_input_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, 1, D, H, W\), not \(" + str(shape[0])):
        small_net()(torch.zeros(shape))


@pytest.mark.parametrize(
    "bad", [{"in_channels": 0}, {"n_classes": 1}, {"channels": (4, 8, 0, 16)}, {"width": 3}]
)
def test_config_out_of_range_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        UNetConfig.model_validate(bad)


def test_other_channels_and_classes_work() -> None:
    net = UNet3D(in_channels=3, n_classes=4, channels=(2, 3, 4, 5))
    assert net(torch.zeros(2, 3, 16, 16, 16)).shape == (2, 4, 16, 16, 16)


def test_he_init_has_the_fan_in_variance_and_repeats_without_touching_the_global_state() -> None:
    net, again = UNet3D(), UNet3D()
    before = torch.get_rng_state()
    he_init(net, seeded(5))
    he_init(again, seeded(5))
    assert torch.equal(torch.get_rng_state(), before)
    for p, q in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)
    for name in ("down6.conv_1", "up1.conv_2", "down5.conv_2"):
        weight = net.get_submodule(name).weight
        assert float(weight.detach().square().mean() * weight[0].numel()) == pytest.approx(2, rel=0.05)


def test_bf16_autocast_stays_close_to_fp32() -> None:
    net = small_net()
    x = torch.randn(1, 1, 16, 16, 16, generator=seeded())
    exact = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(x)
    rough.float().sum().backward()
    assert float(((rough.float() - exact).std() / exact.std()).detach()) < 0.05


@pytest.mark.parametrize("size", [(16, 24, 16), (9, 22, 13)])
def test_both_layouts_compute_the_same_network(size: tuple[int, int, int]) -> None:
    gradients = []
    for channels_last in (False, True):
        net = small_net().double()
        net.channels_last = channels_last
        logits = net(torch.randn(2, 1, *size, generator=seeded(1), dtype=torch.float64))
        logits.square().mean().backward()
        gradients.append([logits.detach(), *(p.grad for p in net.parameters())])
    for first, last in zip(*gradients, strict=True):
        torch.testing.assert_close(first, last)


def test_channels_last_holds_from_the_first_convolution_to_the_logits() -> None:
    net, formats = small_net(), []
    for block in net.children():
        block.register_forward_hook(
            lambda block, inputs, out: formats.append(out.is_contiguous(memory_format=torch.channels_last_3d))
        )
    net.channels_last = True
    net(torch.zeros(2, 1, 16, 16, 16))
    assert formats == [True] * 11
    formats.clear()
    net.channels_last = False
    net(torch.zeros(2, 1, 16, 16, 16))
    assert formats == [False] * 11


def test_on_a_cpu_the_layout_is_channels_last_unless_said_otherwise() -> None:
    net = small_net()
    assert net.channels_last is None
    assert net(torch.zeros(2, 1, 16, 16, 16)).stride(1) == 1
