"""Convolution, InstanceNorm and ReLU equal torch's on every route."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dwp_sweep.nets.layers import conv3d, norm_relu


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


def volume(dtype: torch.dtype = torch.float32, size: tuple[int, ...] = (2, 6, 5, 4, 7)) -> Tensor:
    """Channels with means and scales of their own, channels last."""
    x = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shift = torch.linspace(-2, 3, size[1], dtype=torch.float64).view(1, -1, 1, 1, 1)
    x = ((1 + shift.abs()) * x + shift).to(dtype)
    return x.to(memory_format=torch.channels_last_3d)


def gradient(function: object, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output and gradient of a weighted sum of it."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_(True)
    y = function(x)  # type: ignore[operator]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (y * weights.to(y.dtype)).sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


def reference(x: Tensor) -> Tensor:
    return F.relu(F.instance_norm(x))


@pytest.mark.parametrize("size", [(2, 6, 5, 4, 7), (1, 16, 8, 8, 8), (3, 2, 1, 1, 2)])
def test_channels_last_computes_what_torch_computes(size: tuple[int, ...]) -> None:
    x = volume(torch.float64, size)
    ours, theirs = gradient(norm_relu, x), gradient(reference, x.contiguous())
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1], theirs[1])


def test_the_gradient_is_that_of_finite_differences() -> None:
    x = volume(torch.float64, (2, 3, 2, 3, 2)).requires_grad_(True)
    assert torch.autograd.gradcheck(norm_relu, (x,))


def test_layout_and_type_stay() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        y, grad = gradient(norm_relu, volume(dtype))
        for tensor in (y, grad):
            assert tensor.dtype == dtype
            assert tensor.is_contiguous(memory_format=torch.channels_last_3d)
    assert norm_relu(volume().contiguous()).is_contiguous()


def test_bf16_differs_from_fp32_by_its_rounding_only() -> None:
    x = volume(torch.bfloat16, (2, 4, 12, 12, 12))
    ours, exact = gradient(norm_relu, x), gradient(reference, x.double().contiguous())
    for rough, fine in zip(ours, exact, strict=True):
        assert float((rough.double() - fine).norm() / fine.norm()) < 2**-7


def test_a_constant_channel_becomes_zero() -> None:
    x = volume()
    x[:, 2] = 3.0
    y, grad = gradient(norm_relu, x)
    assert float(y[:, 2].abs().max()) < 1e-3
    assert bool(grad.isfinite().all())


def test_gradients_that_arrive_in_the_other_layout_are_taken() -> None:
    x = volume().requires_grad_(True)
    (norm_relu(x).contiguous() ** 2).sum().backward()
    by_torch = volume().contiguous().requires_grad_(True)
    (reference(by_torch) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, by_torch.grad, rtol=1e-4, atol=1e-5)
