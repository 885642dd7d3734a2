"""Dense maps and the larger of two tensors against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from dwp_sweep.nets.dense_map import DenseMap, dense_map, larger


def leaves(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((33, 27), (70, 27), (70,))
    x, weight, bias = (torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_map_and_its_gradients_are_those_of_the_linear_function(dtype: torch.dtype) -> None:
    ours, theirs = leaves(dtype), leaves(dtype)
    got = dense_map(ours[1], ours[2])(ours[0])
    expected = F.linear(*theirs)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(got.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5 * float(b.grad.abs().max()))


def test_weights_may_lie_in_memory_in_any_order() -> None:
    x, weight, bias = leaves(torch.float32)
    turned = weight.detach().T.contiguous().T
    torch.testing.assert_close(dense_map(turned, bias)(x), F.linear(x, weight, bias), rtol=1e-5, atol=1e-5)


def test_a_gradient_that_is_not_contiguous_is_taken() -> None:
    x, weight, bias = leaves(torch.float32)
    got = dense_map(weight, bias)(x)
    (grad,) = torch.autograd.grad(got.sum(), x)  # the gradient of a sum is an expanded scalar
    torch.testing.assert_close(grad, weight.sum(dim=0).expand(33, 27), rtol=1e-4, atol=1e-4)


def test_no_rows_give_no_rows() -> None:
    _, weight, bias = leaves(torch.float32)
    assert dense_map(weight, bias)(torch.empty(0, 27)).shape == (0, 70)


def test_nothing_but_what_asks_for_a_gradient_gets_one() -> None:
    x, weight, bias = leaves(torch.float32)
    frozen: DenseMap = dense_map(weight.detach(), bias.detach())
    frozen(x).sum().backward()
    assert x.grad is not None and weight.grad is None and bias.grad is None


def test_the_larger_one_has_the_gradient_by_finite_differences() -> None:
    a, b = (torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.testing.assert_close(larger(a, b), torch.maximum(a, b))
    assert gradcheck(larger, (a, b))


def test_of_equal_ones_the_first_gets_the_whole_gradient() -> None:
    a, b = (torch.zeros(3, requires_grad=True) for _ in range(2))
    larger(a, b).sum().backward()
    assert a.grad is not None and b.grad is not None
    assert a.grad.eq(1).all() and b.grad.eq(0).all()
