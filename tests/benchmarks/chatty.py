"""Nodes that compute nothing and tell a lot: what the bench `load` runs through the real workers.

Importable in Ray's workers without torch. Every value is known beforehand, so that each can be looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dwp_sweep.config.node import make_node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.strict import StrictModel


class ChattyConfig(StrictModel):
    """A node that tells a lot.

    Attributes:
        number: Tells it from others, and its values.
        n_epochs: How often it tells.
        n_metrics: How many values each time.
    """

    number: int
    n_epochs: int
    n_metrics: int


def value(number: int, epoch: int, metric: int) -> float:
    """What a node tells: different for each node, epoch and metric; exact in single precision."""
    return float((number * 211 + epoch * 17 + metric) % 1_000_003)


def metric_name(metric: int) -> str:
    """Name of a metric."""
    return f"metric_{metric}"


def run(
    config: ChattyConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    """Tell all epochs at once; no final metrics."""
    for epoch in range(1, config.n_epochs + 1):
        told = {
            metric_name(metric): value(config.number, epoch, metric) for metric in range(config.n_metrics)
        }
        emit("target", epoch, told)
    return {}


STAGES = {
    "target": Stage(
        name="target", version=1, config=ChattyConfig, run=run, n_steps=lambda config: config.n_epochs
    )
}


def chatty_sweep(name: str, n_nodes: int, n_epochs: int, n_metrics: int) -> Sweep:
    """Nodes that need nothing, one CPU each."""
    configs = [
        ChattyConfig(number=number, n_epochs=n_epochs, n_metrics=n_metrics) for number in range(n_nodes)
    ]
    nodes = [make_node(STAGES["target"], config, {}, {"seed": config.number}) for config in configs]
    resources = {"target": ResourcesConfig(cpu=1.0, gpu=0.0)}
    return Sweep(name, {node.key: node for node in nodes}, tuple(node.key for node in nodes), resources)
