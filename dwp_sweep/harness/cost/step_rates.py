"""How long a training step takes on this machine, kept by the bench ``step``, and how long nodes take by it.

A plan uses it where no node like the planned one was ever run. It is rough: computing alone, without the
start of workers and other load, and as if nothing stopped early. Stages that declare no training steps
(`Workload.steps`) have no duration here: the steps of a kernel prior are not in the bench.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import Duration
from dwp_sweep.harness.dag.resources import Resources
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.stages.workload import TrainingSteps, workload_of
from dwp_sweep.store.open_store import user_cache
from dwp_sweep.store.record import write_json

BENCH_VOXELS, BENCH_BATCH, BENCH_CHANNELS = 48**3, 2, (16, 32, 32, 64)
"""What a step of the bench is: a batch of volumes of so many voxels through the default network."""
KEPT = ("fp32", "bf16", "dwp fp32", "dwp bf16")
"""Versions of the bench whose seconds are kept: the default network, and what weight noise makes of it."""
_THREADS = "threads"


def rates_file() -> Path:
    """The file in the user's folder of caches: rates belong to a machine, not to a storage."""
    return user_cache() / "step_rates.json"


def keep_rates(device: str, n_threads: int, seconds: Mapping[str, float], path: Path | None = None) -> Path:
    """Keep seconds a step of a device, beside those of other devices.

    Args:
        device: ``cpu`` or ``cuda``.
        n_threads: Of the bench.
        seconds: One of `KEPT` -> seconds of one step of the bench.
        path: The file; None: `rates_file`.
    """
    path = path or rates_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**_read(path), device: {**seconds, _THREADS: n_threads}})
    return path


class StepRates:
    """Durations of nodes by the bench's step.

    Args:
        rates: Device -> version -> seconds a step, as `keep_rates` keeps them.
    """

    def __init__(self, rates: Mapping[str, Mapping[str, float]]) -> None:
        self._rates = rates

    @classmethod
    def kept(cls, path: Path | None = None) -> StepRates:
        """What the bench has kept on this machine; empty where it never ran."""
        return cls(_read(path or rates_file()))

    def duration(self, node: Node, resources: Resources) -> Duration | None:
        """What a node takes if it trains to its last epoch; None where that is unknown.

        The shortest case is that no epoch is better than the first, so that every chance lowers the rate.

        Args:
            node: Of a stage that declares its training steps; for others None.
            resources: What its trial asks for: the bench's cores are shared out, a GPU is taken as a whole.
        """
        steps = workload_of(node.stage).steps(node.config, node.inputs)
        if steps is None:
            return None
        try:
            step_s = self._step_s(steps, resources)
        except KeyError:  # not measured on this device, or not in this precision
            return None
        return Duration(step_s * steps.most, step_s * steps.fewest, step_s * steps.most, 0)

    def _step_s(self, steps: TrainingSteps, resources: Resources) -> float:
        rates = self._rates["cuda" if resources.gpu else "cpu"]
        threads = 1.0 if resources.gpu else max(rates[_THREADS] / max(resources.cpu, 1.0), 1.0)
        share = macs(steps.channels) / macs(BENCH_CHANNELS)
        plain_s = rates[steps.precision] * share * steps.voxels / (BENCH_BATCH * BENCH_VOXELS)
        if not steps.has_priors:
            return threads * plain_s
        # The bound is over kernels: it costs as much for small volumes as for large ones.
        bound_s = rates[f"dwp {steps.precision}"] - rates[steps.precision]
        return threads * (plain_s + share * bound_s)


@functools.cache
def macs(channels: tuple[int, int, int, int]) -> int:
    """Multiply-adds of all convolutions of the U-Net for one volume of 16 x 16 x 16 voxels."""
    counts: list[int] = []

    def count(layer: nn.Module, given: Any, made: torch.Tensor) -> None:
        if isinstance(layer, nn.Conv3d):
            counts.append(layer.weight.numel() * math.prod(made.shape[2:]))
        elif isinstance(layer, nn.ConvTranspose3d):
            counts.append(layer.weight.numel() * math.prod(given[0].shape[2:]))

    with torch.device("meta"):
        net = UNet3D(channels=channels)
        for layer in net.modules():
            layer.register_forward_hook(count)
        net(torch.empty(1, 1, 16, 16, 16))
    return sum(counts)


def _read(path: Path) -> dict[str, dict[str, float]]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
