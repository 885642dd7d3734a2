"""How long a training step takes here, kept by the bench ``step``, and what nodes would take by it.

What a plan rests on where nothing like a node was ever run. Rough: computing alone, without the start of
workers and what else the machine does, and as if nothing stopped early. Knows networks of source and target
only; a kernel prior's steps are not in the bench.
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
from dwp_sweep.harness.dag.slots import Resources
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.store.open_store import user_cache
from dwp_sweep.store.record import write_json

BENCH_VOXELS, BENCH_BATCH, BENCH_CHANNELS = 48**3, 2, (16, 32, 32, 64)
"""What a step of the bench is: a batch of volumes of so many voxels through the default network."""
KEPT = ("fp32", "bf16", "dwp fp32", "dwp bf16")
"""Versions of the bench whose seconds are kept: the default network, and what weight noise makes of it."""
_THREADS = "threads"
_FORWARD = 1 / 3
"""A forward pass without a backward pass, of a whole step."""


def rates_file() -> Path:
    """In the user's folder of caches: what a step takes belongs to the machine, not to a storage."""
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

    def duration(self, node: Node, shape: Resources) -> Duration | None:
        """What a node takes if it trains to its last epoch; None where that cannot be told.

        The least is what it takes if no epoch is better than the first, so that the rate falls at every
        chance.

        Args:
            node: Of the stage ``source`` or ``target``; others cannot be told.
            shape: What its trial asks for: the bench's cores are shared out, a GPU is taken as a whole.
        """
        stage, config = node.stage, node.config
        if stage not in ("source", "target"):
            return None
        try:
            step_s = self._step_s(node, shape)
            n_steps = config["source"]["n_cycles"] if stage == "source" else 1
            n_steps *= _steps_of_epoch(stage, config)
            end = _steps_of_test(stage, config)
            n_most = config[stage]["max_epochs"]
            n_least = min(n_most, _fewest_epochs(config[stage]))
        except (KeyError, TypeError, ValueError):
            return None
        most_s, least_s = (step_s * (n_epochs * n_steps + end) for n_epochs in (n_most, n_least))
        return Duration(most_s, least_s, most_s, 0)

    def _step_s(self, node: Node, shape: Resources) -> float:
        config, training = node.config, node.config[node.stage]
        rates, precision = self._rates["cuda" if shape.gpu else "cpu"], config["compute"]["precision"]
        threads = 1.0 if shape.gpu else max(rates[_THREADS] / max(shape.cpu, 1.0), 1.0)
        voxels = training["batch_size"] * _voxels(config["dataset"], training)
        share = macs(tuple(config["unet"]["channels"])) / macs(BENCH_CHANNELS)
        plain_s = rates[precision] * share * voxels / (BENCH_BATCH * BENCH_VOXELS)
        if not node.inputs.get("priors"):
            return float(threads * plain_s)
        # The bound is over kernels: as dear for small volumes as for large ones.
        return float(threads * (plain_s + share * (rates[f"dwp {precision}"] - rates[precision])))


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


def _voxels(dataset: Mapping[str, Any], training: Mapping[str, Any]) -> int:
    shape = (training.get("patch") or {}).get("shape") or dataset["preprocess"].get("shape")
    if shape is None and dataset["layout"] == "phantom":
        shape = dataset["phantom"]["shape"]
    if shape is None:
        raise ValueError("volumes are as large as they come")
    return math.prod(shape)


def _fewest_epochs(training: Mapping[str, Any]) -> int:
    n_falls = math.ceil(math.log(training["stop_lr"] / training["lr"]) / math.log(training["factor"]) - 1e-9)
    return 1 + max(n_falls, 1) * (int(training["patience"]) + 1)


def _steps_of_epoch(stage: str, config: Mapping[str, Any]) -> float:
    settings, batch = config[stage], config[stage]["batch_size"]
    n_train = config.get("train_size") or config["dataset"].get("n_subjects") or 0
    steps: int = settings.get("steps_per_epoch") or math.ceil(n_train / batch)
    if not steps:
        raise ValueError("how many scans there are is not said")
    n_val: int = config["dataset"]["n_val"]
    return steps + _FORWARD * math.ceil(n_val / int(batch))


def _steps_of_test(stage: str, config: Mapping[str, Any]) -> float:
    if stage != "target":
        return 0.0
    has_noise = any("noise" in section for section in config.get("settings", {}).values())
    n_samples: int = config["target"]["n_samples"] if has_noise else 1
    n_test, batch = int(config["dataset"]["n_test"]), int(config["target"]["batch_size"])
    return _FORWARD * n_samples * n_test / batch


def _read(path: Path) -> dict[str, dict[str, float]]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
