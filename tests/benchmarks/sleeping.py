"""Nodes that only sleep: the paper's grid as a DAG whose work is known beforehand and costs no core.

What the bench `makespan` runs through the real searcher and workers. Importable in Ray's workers without
torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.config.node import Node, make_node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.strict import StrictModel

if TYPE_CHECKING:
    from dwp_sweep.config.sweep import Sweep

METHODS = {"random_init": 1.0, "fine_tune": 0.8, "freeze_middle": 0.6, "deep_weight_prior": 1.6}
"""Relative durations of target networks: a good start stops early, weight noise makes a step dearer."""
TRAIN_SIZES = {5: 0.8, 10: 1.0, 15: 1.2, 20: 1.4}
_SPLITS = (0.95, 1.0, 1.05)
_SOURCE, _HARVEST = 3.0, 0.1
_PRIORS = (0.3, 0.5, 0.8, 1.0, 0.8, 0.5, 0.3)
"""By kernel group: those in the middle of the network hold the most kernels."""


class SleepConfig(StrictModel):
    """A node that sleeps.

    Attributes:
        name: Tells it from others.
        sleep_s: How long.
    """

    name: str
    sleep_s: float


def run(
    config: SleepConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    """Sleep once, as if it were one epoch; the metrics are a `tests.benchmarks.plain_trials.Span`."""
    began_s = time.time()
    time.sleep(config.sleep_s)
    return {"began_s": began_s, "ended_s": time.time(), "pid": float(os.getpid())}


STAGES = {
    name: Stage(name=name, version=1, config=SleepConfig, run=run, n_steps=lambda config: 1)
    for name in ("source", "harvest", "prior", "target")
}


def sleeper(stage: str, name: str, sleep_s: float, parents: Sequence[Node] = (), **labels: object) -> Node:
    """A node that sleeps."""
    inputs = {"from": tuple(parents)} if parents else {}
    return make_node(STAGES[stage], SleepConfig(name=name, sleep_s=sleep_s), inputs, labels)


def paper_grid(unit_s: float, n_seeds: int = 10, sizes: Sequence[int] = tuple(TRAIN_SIZES)) -> Sweep:
    """The paper's grid: source networks, harvest, seven priors, four methods x training sizes x three splits.

    Args:
        unit_s: Seconds of training from scratch on ten scans, to which all durations are relative.
        n_seeds: Source networks.
        sizes: Training sizes, of `TRAIN_SIZES`.
    """
    sources = [sleeper("source", f"source {i}", _SOURCE * unit_s, seed=i) for i in range(n_seeds)]
    harvest = sleeper("harvest", "harvest", _HARVEST * unit_s, sources)
    priors = [
        sleeper("prior", f"prior {i}", share * unit_s, [harvest], group=i + 1)
        for i, share in enumerate(_PRIORS)
    ]
    first = sources[:1]
    needs = {"random_init": (), "fine_tune": first, "freeze_middle": first, "deep_weight_prior": priors}
    targets = [
        sleeper(
            "target", f"{method} {size} {split}", METHODS[method] * TRAIN_SIZES[size] * share * unit_s,
            needs[method], method=method, train_size=size, split=split,
        )
        for size in sizes
        for split, share in enumerate(_SPLITS)
        for method in METHODS
    ]  # fmt: skip
    return sweep_of("makespan", [*sources, harvest, *priors, *targets], [node.key for node in targets])


def flat(n_nodes: int, sleep_s: float) -> Sweep:
    """Nodes of equal length that need nothing."""
    nodes = [sleeper("target", f"flat {i}", sleep_s) for i in range(n_nodes)]
    return sweep_of("flat", nodes, [node.key for node in nodes])


def phases(sweep: Sweep) -> list[Sweep]:
    """The same nodes as three sweeps, to be run one after the other: source and harvest, priors, targets."""
    stages = (("source", "harvest"), ("prior",), ("target",))
    found = []
    for place, own in enumerate(stages):
        known = {s for phase in stages[: place + 1] for s in phase}
        nodes = {key: node for key, node in sweep.nodes.items() if node.stage in known}
        targets = tuple(key for key, node in nodes.items() if node.stage in own)
        found.append(replace(sweep, name=f"phase {place + 1}", nodes=nodes, targets=targets))
    return found


def seconds_of(sweep: Sweep) -> dict[str, float]:
    """Key -> how long each node sleeps."""
    return {key: float(node.config["sleep_s"]) for key, node in sweep.nodes.items()}


def sweep_of(name: str, nodes: Sequence[Node], targets: Sequence[str]) -> Sweep:
    """A sweep of sleeping nodes, one CPU each."""
    from dwp_sweep.config.sweep import Sweep  # imports torch: in the driver only

    resources = {stage: ResourcesConfig(cpu=1.0, gpu=0.0) for stage in STAGES}
    return Sweep(name, {node.key: node for node in nodes}, tuple(targets), resources)
