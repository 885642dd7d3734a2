"""The estimate of the bound from a part of the kernels: what a step then costs, and what the part adds.

Measured on a stand-in: the U-Net at its start, kernels and prior from `stand_in`. The variances follow
from the moments of each kernel over draws of ``w`` and ``z``. With ``k`` of ``n`` kernels chosen,
``f = k / n``, kernel means ``m`` and variances ``v``, the estimate ``sum / f`` has the variance
``sum(v) / f + n (1 / f - 1) S``, ``S`` the variance of the ``m`` over the kernels; a gradient, in which
every component belongs to one kernel, has ``sum(v) / f + (1 / f - 1) sum(m^2)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from dwp_sweep.bench.frame import Row, Setting, Version, compare
from dwp_sweep.losses.kernel_bound import kernel_bound, subset
from dwp_sweep.nets.bayes_conv import make_bayesian
from dwp_sweep.nets.kernel_groups import as_kernels, kernel_layers
from dwp_sweep.nets.kernel_vae import KernelVAE
from tests.benchmarks.data_term import StandInBatch, data_loss, gradient_noise, stand_in_batch
from tests.benchmarks.stand_in import fitted_vae, group_sizes, kernels, network, one_a_group

FRACTIONS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
GOAL, GOAL_EXACT = 1.5, 4.0
N_REPEATS, N_DRAWS, N_DATA_DRAWS = 5, 12, 8
LOG_VAR = -10.0
SCALE = 0.05
"""Raw weight of one standardised unit, about that of a He start."""
WEIGHT = 1e-6
"""Of the bound beside the data term, ``kl_weight / N``: the default weight with ten training images."""


def fraction(setting: Setting) -> list[Row]:
    """A DWP step with the bound from a part of the kernels: its cost, and the variance that this adds."""
    vaes = one_a_group(fitted_vae(setting), group_sizes(setting))
    batch = stand_in_batch(setting)
    versions = [Version("plain", "the same network without noise and bound", _plain_step(setting, batch))]
    for part in FRACTIONS:
        goal = GOAL_EXACT if part == 1 else GOAL
        what = f"weight noise and the bound of {part:.0%} of the kernels"
        versions.append(Version(f"{part:g}", what, _dwp_step(setting, vaes, batch, part), goal))
    plain, *rows = compare(versions, setting, N_REPEATS)
    moments = [
        _moments(setting, vae, n) for vae, n in zip(vaes.values(), group_sizes(setting).values(), strict=True)
    ]
    of_data = _data_variance(setting, batch)
    return [plain] + [
        replace(row, extra={**row.extra, **variances(moments, part, of_data)})
        for row, part in zip(rows, FRACTIONS, strict=True)
    ]


class Moments(NamedTuple):
    """Over draws, of the kernels of one group.

    Attributes:
        nats: Mean of the bound of each kernel ``(n,)``.
        nats_variance: Its variance ``(n,)``.
        squared_gradient: Squared norm of each kernel's mean gradient ``(n,)``.
        gradient_variance: Variance of that gradient, summed over the 27 components ``(n,)``.
    """

    nats: Tensor
    nats_variance: Tensor
    squared_gradient: Tensor
    gradient_variance: Tensor


def variances(groups: list[Moments], part: float, of_data: float) -> dict[str, float]:
    """What a part of the kernels does to the estimate and to its gradient.

    Args:
        groups: Moments of each group.
        part: Share of kernels chosen in each group.
        of_data: Variance of the data term's gradient.

    Returns:
        Standard deviation of the estimate by its mean; variance of its gradient by the squared mean
        gradient, by that with all kernels, and by the data term's at the default weight.
    """
    estimate = sum(_estimate_variance(group, part) for group in groups)
    gradient = sum(_gradient_variance(group, part) for group in groups)
    whole = sum(_gradient_variance(group, 1.0) for group in groups)
    signal = sum(float(group.squared_gradient.sum()) for group in groups)
    total = abs(sum(float(group.nats.sum()) for group in groups))
    return {
        "estimate: std of mean": estimate**0.5 / total,
        "gradient: variance of signal²": gradient / signal,
        "of all kernels'": gradient / whole,
        "of the data term's": WEIGHT**2 * gradient / of_data,
    }


def _share(n: int, part: float) -> float:
    return 1 / subset(n, part).factor


def _estimate_variance(group: Moments, part: float) -> float:
    n, share = len(group.nats), _share(len(group.nats), part)
    between = float(group.nats.var()) if n > 1 else 0.0
    return float(group.nats_variance.sum()) / share + n * (1 / share - 1) * between


def _gradient_variance(group: Moments, part: float) -> float:
    share = _share(len(group.nats), part)
    return float(group.gradient_variance.sum()) / share + (1 / share - 1) * float(
        group.squared_gradient.sum()
    )


def _moments(setting: Setting, vae: KernelVAE, n: int) -> Moments:
    setting.tell(f"variance of the bound over {n} kernels")
    generator = torch.Generator(setting.device).manual_seed(setting.seed)
    mean = SCALE * kernels(n, torch.Generator().manual_seed(setting.seed + 1)).to(setting.device)
    draws = [_draw(mean, vae, generator) for _ in range(3 if setting.quick else N_DRAWS)]
    nats, gradients = (torch.stack(column) for column in zip(*draws, strict=True))
    spread = gradients.var(dim=0).sum(dim=1)
    # The squared mean of draws holds their variance once by their number.
    signal = (gradients.mean(dim=0).square().sum(dim=1) - spread / len(draws)).clamp_min(0)
    return Moments(nats.mean(dim=0), nats.var(dim=0), signal, spread)


def _draw(mean: Tensor, vae: KernelVAE, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The bound of each kernel ``(n,)`` and its gradient ``(n, 27)`` at one draw of ``w`` and ``z``."""
    leaf = mean.clone().requires_grad_(True)
    log_var = torch.full_like(mean, LOG_VAR)
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    nats = kernel_bound(leaf + (0.5 * log_var).exp() * noise, leaf, log_var, vae, SCALE, generator)
    return nats.detach(), torch.autograd.grad(nats.sum(), leaf)[0]


def _data_variance(setting: Setting, batch: StandInBatch) -> float:
    net = network(setting)
    layers = make_bayesian(net, LOG_VAR, "weight", torch.Generator(setting.device).manual_seed(setting.seed))
    return gradient_noise(net, layers, batch, 2 if setting.quick else N_DATA_DRAWS).variance


def _plain_step(setting: Setting, batch: StandInBatch) -> Callable[[], None]:
    net = network(setting)

    def step() -> None:
        net.zero_grad()
        torch.autograd.backward(data_loss(net, batch))

    return step


def _dwp_step(
    setting: Setting, vaes: Mapping[int, KernelVAE], batch: StandInBatch, part: float
) -> Callable[[], None]:
    net = network(setting)
    groups = [layer.group for layer in kernel_layers(net)]
    generator = torch.Generator(setting.device).manual_seed(setting.seed)
    layers = make_bayesian(net, LOG_VAR, "weight", generator)

    def group_nats(group: int) -> Tensor:
        members = [layer for layer, number in zip(layers, groups, strict=True) if number == group]
        drawn = torch.cat([as_kernels(layer.sample) for layer in members if layer.sample is not None])
        mean = torch.cat([as_kernels(layer.mean) for layer in members])
        log_var = torch.cat([as_kernels(layer.log_var) for layer in members])
        at, factor = subset(len(mean), part, generator)
        return factor * kernel_bound(drawn[at], mean[at], log_var[at], vaes[group], SCALE, generator).sum()

    def step() -> None:
        net.zero_grad()
        loss = data_loss(net, batch)
        nats = torch.stack([group_nats(group) for group in vaes]).sum()
        torch.autograd.backward(loss + WEIGHT * nats)

    return step
