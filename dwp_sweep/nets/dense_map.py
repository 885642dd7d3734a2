"""Affine maps of rows, and the larger of two tensors, as fast as the processor has them.

Matrix products of float32 go to MKL by default, which leaves the wide vectors (AVX-512) of processors of
other makers unused; oneDNN uses them, and was 2.4 times as fast on one. On a GPU, in double precision or
where torch was built without oneDNN the ordinary product is taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_HAS_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class DenseMap(NamedTuple):
    """``x -> x W' + b`` of rows ``x``, made once and applied to many batches.

    Attributes:
        weight: ``(out, in)``, contiguous, with its graph.
        transposed: ``(in, out)``, contiguous, without graph: for gradients of the input.
        bias: ``(out,)``, with its graph.
    """

    weight: Tensor
    transposed: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """``(n, in)`` to ``(n, out)``; differentiable once."""
        if not _uses_onednn(x, self.weight):
            return F.linear(x, self.weight, self.bias)
        product: Tensor = _Product.apply(x, *self)  # type: ignore[no-untyped-call]
        return product


def dense_map(weight: Tensor, bias: Tensor) -> DenseMap:
    """A map of weights ``(out, in)`` and a bias ``(out,)`` in any memory layout."""
    return DenseMap(weight.contiguous(), weight.detach().T.contiguous(), bias)


def larger(a: Tensor, b: Tensor) -> Tensor:
    """The larger of two tensors, element by element; differentiable once.

    The gradient goes to the larger one, of two equal ones to ``a``, as a max-pool gives it to the first.
    `torch.maximum` halves it between equals, which costs four more passes over the memory.
    """
    values: Tensor = _Larger.apply(a, b)  # type: ignore[no-untyped-call]
    return values


def _uses_onednn(x: Tensor, weight: Tensor) -> bool:
    return _HAS_ONEDNN and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and len(x) > 0


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, transposed: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, transposed)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, transposed = ctx.saved_tensors
        needs_x, needs_weight, _, needs_bias = ctx.needs_input_grad
        grad = grad.contiguous()
        return (
            _onednn(grad, transposed, None) if needs_x else None,
            grad.T @ x if needs_weight else None,
            None,
            grad.sum(dim=0) if needs_bias else None,
        )


class _Larger(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a >= b)
        return torch.maximum(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        to_a = grad * ctx.saved_tensors[0]
        return to_a, grad - to_a


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")
    return out
