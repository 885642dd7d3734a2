"""A function of rows part by part against the same function in one piece."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from dwp_sweep.losses.kernel_bound import by_rows


def of_rows(a: Tensor, b: Tensor) -> Tensor:
    return (a.sin() * b.exp()[:, :1]).sum(dim=1) + b.square().sum(dim=1)


def leaves(n: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (3, 2))
    return a.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("n_rows", [1, 3, 7, 100])
def test_the_size_of_the_parts_changes_neither_values_nor_gradients(n_rows: int) -> None:
    ours, theirs = leaves(), leaves()
    upstream = torch.linspace(-1, 2, 7, dtype=torch.float64)
    got, expected = by_rows(of_rows, *ours, n_rows), of_rows(*theirs)
    torch.testing.assert_close(got, expected)
    (got * upstream).sum().backward()
    (expected * upstream).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_gradients_are_those_of_finite_differences() -> None:
    assert gradcheck(lambda a, b: by_rows(of_rows, a, b, 2), leaves())


@pytest.mark.parametrize("which", [0, 1])
def test_one_argument_alone_may_ask_for_its_gradient(which: int) -> None:
    ours = leaves()
    ours[1 - which].requires_grad_(False)
    by_rows(of_rows, *ours, 2).sum().backward()
    theirs = leaves()
    of_rows(*theirs).sum().backward()
    torch.testing.assert_close(ours[which].grad, theirs[which].grad)
    assert ours[1 - which].grad is None


def test_without_gradients_nothing_is_differentiated() -> None:
    with torch.no_grad():
        values = by_rows(of_rows, *leaves(), 3)
    assert not values.requires_grad
    torch.testing.assert_close(values, of_rows(*leaves()).detach())
    plain = tuple(leaf.detach() for leaf in leaves())
    assert not by_rows(of_rows, *plain, 3).requires_grad
