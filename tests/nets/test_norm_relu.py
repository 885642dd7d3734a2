"""The channels-last form against torch's own operations and finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dwp_sweep.nets.layers import norm_relu


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
