"""Noise in the weights against noise in the activations: cost of a step, variance of its gradient.

Local reparametrisation draws every output voxel on its own, which averages the noise out within a volume, and
costs two convolutions in place of one. Measured at the start of training, on a stand-in batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from dwp_sweep.bench.frame import Row, Setting, Version, compare
from dwp_sweep.nets.bayes_conv import BayesConv3d, Noise, make_bayesian
from tests.benchmarks.data_term import GradientNoise, StandInBatch, data_loss, gradient_noise, stand_in_batch
from tests.benchmarks.stand_in import network

N_REPEATS, N_DRAWS = 7, 24
LOG_VARS = (-10.0, -6.0)
KINDS: dict[Noise, str] = {
    "weight": "one draw of the weights a step",
    "local": "one draw of every output voxel",
}


def noise(setting: Setting) -> list[Row]:
    """Weight noise against local reparametrisation: cost of a step, variance of the gradient."""
    batch = stand_in_batch(setting)
    versions = [Version("plain", "no noise, the same network", _step(network(setting), batch))]
    for kind, what in KINDS.items():
        versions.append(Version(kind, what, _step(_noisy(setting, kind, LOG_VARS[0])[0], batch)))
    plain, *rows = compare(versions, setting, N_REPEATS)
    found = {
        (kind, log_var): _gradient_noise(setting, kind, log_var, batch)
        for kind in KINDS
        for log_var in LOG_VARS
    }
    return [plain, *(replace(row, extra={**row.extra, **_extra(row.name, found)}) for row in rows)]


def _step(net: nn.Module, batch: StandInBatch) -> Callable[[], None]:
    def step() -> None:
        net.zero_grad()
        torch.autograd.backward(data_loss(net, batch))

    return step


def _noisy(setting: Setting, kind: Noise, log_var: float) -> tuple[nn.Module, tuple[BayesConv3d, ...]]:
    net = network(setting)
    generator = torch.Generator(setting.device).manual_seed(setting.seed)
    return net, make_bayesian(net, log_var, kind, generator)


def _gradient_noise(setting: Setting, kind: Noise, log_var: float, batch: StandInBatch) -> GradientNoise:
    setting.tell(f"{kind}: gradients at log_var {log_var:g}")
    net, layers = _noisy(setting, kind, log_var)
    return gradient_noise(net, layers, batch, 2 if setting.quick else N_DRAWS)


def _extra(kind: str, found: dict[tuple[Noise, float], GradientNoise]) -> dict[str, float]:
    """Variance against that of weight noise, and against the signal, at each log-variance."""
    values = {}
    for (name, log_var), of_kind in found.items():
        if name == kind:
            unit = found["weight", log_var].variance
            values[f"variance of weight's, log_var {log_var:g}"] = of_kind.variance / unit
            values[f"variance of signal², log_var {log_var:g}"] = of_kind.variance / of_kind.squared_mean
    return values
