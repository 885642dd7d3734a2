"""The variances that a part of the kernels adds, against the variance of simulated estimates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dwp_sweep.losses.kernel_bound import subset
from tests.benchmarks.fraction import Moments, variances

N, P, N_DRAWS = 24, 3, 6000


def moments() -> tuple[Moments, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    nats = 10 + 5 * torch.randn(N, generator=generator, dtype=torch.float64)
    deviation = torch.rand(N, generator=generator, dtype=torch.float64)
    gradient = torch.randn(N, P, generator=generator, dtype=torch.float64)
    of_gradient = (P * deviation.square()).clone()
    return Moments(nats, deviation.square(), gradient.square().sum(1), of_gradient), nats, deviation, gradient


@pytest.mark.parametrize("part", [0.125, 0.5, 1.0])
def test_variances_are_those_of_simulated_estimates(part: float) -> None:
    group, nats, deviation, gradient = moments()
    generator = torch.Generator().manual_seed(1)
    sums, gradients = [], []
    for _ in range(N_DRAWS):
        at, factor = subset(N, part, generator)
        noise = torch.randn(N, generator=generator, dtype=torch.float64)
        sums.append(factor * (nats + deviation * noise)[at].sum())
        noisy = gradient + deviation[:, None] * torch.randn(N, P, generator=generator, dtype=torch.float64)
        gradients.append(torch.zeros(N, P, dtype=torch.float64).index_copy(0, at, factor * noisy[at]))
    found = variances([group], part, of_data=1.0)
    std = float(torch.stack(sums).std() / nats.sum().abs())
    assert found["estimate: std of mean"] == pytest.approx(std, rel=0.05)
    spread = float(torch.stack(gradients).var(dim=0).sum() / gradient.square().sum())
    assert found["gradient: variance of signal²"] == pytest.approx(spread, rel=0.05)


def test_all_kernels_are_the_unit_and_fewer_vary_more() -> None:
    group = moments()[0]
    found = [variances([group], part, of_data=1.0) for part in (1.0, 0.5, 0.25)]
    assert found[0]["of all kernels'"] == 1
    for key in found[0]:
        column = [values[key] for values in found]
        assert column == sorted(column) and column[0] < column[-1]
