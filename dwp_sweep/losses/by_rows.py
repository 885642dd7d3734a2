"""A function of independent rows, whose gradients are computed together with its values, part by part.

Ordinary differentiation keeps what lies between input and output for all rows until the backward pass. Where
each row's value depends on that row alone, and on nothing else that learns, its gradient can be had at
once, while a few hundred rows lie in the processor's cache. It knows nothing of what the function is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

OfRows = Callable[[Tensor, Tensor], Tensor]


def by_rows(function: OfRows, a: Tensor, b: Tensor, n_rows: int) -> Tensor:
    """``function(a, b)``, computed ``n_rows`` at a time.

    Args:
        function: Of ``(k, p)`` and ``(k, q)`` to ``(k,)``, row by row; whatever else it depends on gets no
            gradient.
        a: ``(n, p)``.
        b: ``(n, q)``.
        n_rows: At once; changes time and memory, not the result.

    Returns:
        ``(n,)``, differentiable once with respect to ``a`` and ``b``.
    """
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        values: Tensor = _ByRows.apply(function, a, b, n_rows)  # type: ignore[no-untyped-call]
        return values
    return torch.cat(
        [function(*part) for part in zip(torch.split(a, n_rows), torch.split(b, n_rows), strict=True)]
    )


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: OfRows, a: Tensor, b: Tensor, n_rows: int) -> Tensor:
        parts = zip(torch.split(a, n_rows), torch.split(b, n_rows), strict=True)
        values, *gradients = (
            torch.cat(column) for column in zip(*(_of(function, *p) for p in parts), strict=True)
        )
        ctx.save_for_backward(*gradients)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_a, by_b = ctx.saved_tensors
        return None, grad[:, None] * by_a, grad[:, None] * by_b, None


def _of(function: OfRows, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b = a.detach().requires_grad_(True), b.detach().requires_grad_(True)
    with torch.enable_grad():
        values = function(a, b)
        by_a, by_b = torch.autograd.grad(values.sum(), (a, b))
    return values.detach(), by_a, by_b
