"""Every route of the convolution against torch's own in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dwp_sweep.nets.layers import conv3d


def tensors(n_in: int, n_out: int, edge: int, size: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, n_in, *size, generator=generator)
    return x, torch.randn(n_out, n_in, edge, edge, edge, generator=generator)


def gradients(x: Tensor, weight: Tensor, stride: int, ours: bool, bf16: bool = False) -> list[Tensor]:
    """Output and the gradients of a sum of its squares, with respect to input and weight."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_(True)
    weight = weight.detach().clone().requires_grad_(True)
    padding = weight.shape[2] // 2
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        y = conv3d(x, weight, stride, padding) if ours else F.conv3d(x, weight, None, stride, padding)
    y.float().square().sum().backward() if bf16 else y.square().sum().backward()
    assert x.grad is not None and weight.grad is not None
    return [y.detach(), x.grad, weight.grad]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(("edge", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_channels_last_stays_and_computes_what_torch_computes(edge: int, stride: int, n_threads: int) -> None:
    x, weight = tensors(4, 6, edge, (6, 5, 8))
    x = x.to(memory_format=torch.channels_last_3d)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        ours = gradients(x, weight, stride, ours=True)
    finally:
        torch.set_num_threads(before)
    theirs = gradients(x.double().contiguous(), weight.double(), stride, ours=False)
    assert ours[0].is_contiguous(memory_format=torch.channels_last_3d)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(2, 2, 1), (2, 2, 2), (4, 4, 4), (8, 3, 8), (8, 8, 8)])
def test_bf16_gradients_are_right_at_every_size(
    size: tuple[int, int, int], stride: int, channels_last: bool
) -> None:
    x, weight = tensors(16, 16, 3, size)
    if channels_last:
        x = x.to(memory_format=torch.channels_last_3d)
    exact = gradients(x.double().contiguous(), weight.double(), stride, ours=False)
    for _ in range(3):
        rough = gradients(x, weight, stride, ours=True, bf16=True)
        assert rough[0].dtype == torch.bfloat16
        for one, other in zip(rough, exact, strict=True):
            assert float((one.double() - other).norm() / other.norm()) < 2**-6


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("edge", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_one_image_on_one_thread_is_predicted_as_it_is_trained(
    edge: int, stride: int, channels_last: bool, bf16: bool
) -> None:
    x, weight = tensors(4, 6, edge, (8, 9, 10))
    x = x[:1].to(memory_format=torch.channels_last_3d) if channels_last else x[:1]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            alone = conv3d(x, weight, stride, edge // 2)
    finally:
        torch.set_num_threads(before)
    exact = F.conv3d(x.double().contiguous(), weight.double(), None, stride, edge // 2)
    tolerance = 0.15 if bf16 else 1e-4
    assert alone.dtype == (torch.bfloat16 if bf16 else torch.float32)
    torch.testing.assert_close(alone.double(), exact, rtol=tolerance, atol=tolerance)
