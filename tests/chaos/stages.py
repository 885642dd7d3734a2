"""Small stages that compute something: a resume from the wrong place, or a lost input, changes their numbers.

Each begun and each kept epoch goes to a log that outlives the process, with the process and its time, so that
a test can say what was done twice. Importable in Ray's workers.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dwp_sweep.config.node import Node, make_node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.strict import StrictModel, unkeyed

LOG = "DWP_CHAOS_LOG"
EPOCH_S = 0.15


class ChaosConfig(StrictModel):
    """A little training.

    Attributes:
        name: Of the node in the log.
        n_epochs: Its length.
        method: As in a real target.
        train_size: As in a real target.
        split: As in a real target.
        epoch_s: How long an epoch takes.
    """

    name: str
    n_epochs: int = 8
    method: str = ""
    train_size: int = 5
    split: int = 0
    epoch_s: float = unkeyed(EPOCH_S)


class Line(NamedTuple):
    """One line of the log."""

    name: str
    what: str
    epoch: int
    pid: int
    time_ns: int


def run(
    config: ChaosConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    _log(config, "start", 0)
    checkpoint = work_dir / "checkpoint.json"
    epoch, weights = _resume(checkpoint, config, inputs)
    if epoch:
        emit("chaos", epoch, _metrics(weights))  # as the one training loop does
    while epoch < config.n_epochs:
        epoch += 1
        _log(config, "begin", epoch)
        noise = np.random.default_rng([epoch, len(config.name), *config.name.encode()]).normal(size=64)
        time.sleep(config.epoch_s)
        weights = 0.9 * weights + 0.1 * noise
        _save(checkpoint, epoch, weights)
        _log(config, "kept", epoch)
        emit("chaos", epoch, _metrics(weights))
    (out_dir / "weights.json").write_text(json.dumps(weights.tolist()))
    (out_dir / "figures").mkdir()
    (out_dir / "figures" / "curve.txt").write_text(config.name * 500)
    _log(config, "end", epoch)
    final = _metrics(weights)
    return {"best_val_dice": final["val_dice"], "test_dice": final["val_dice"] / 2}


def _resume(checkpoint: Path, config: ChaosConfig, inputs: Inputs) -> tuple[int, np.ndarray]:
    if checkpoint.exists():
        values = json.loads(checkpoint.read_text())
        return values["epoch"], np.array(values["weights"])
    folders = [folder for role in sorted(inputs) for folder in inputs[role]]
    read = [json.loads((folder / "weights.json").read_text()) for folder in folders]
    return 0, np.mean(read, axis=0) if read else np.full(64, float(len(config.name)))


def _save(checkpoint: Path, epoch: int, weights: np.ndarray) -> None:
    beside = checkpoint.with_name(f".checkpoint.{os.getpid()}")
    with beside.open("w") as file:
        json.dump({"epoch": epoch, "weights": weights.tolist()}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(checkpoint)


def _metrics(weights: np.ndarray) -> dict[str, float]:
    loss = float(np.mean(weights**2))
    return {"train_loss": loss, "val_loss": 1.1 * loss, "val_dice": 1 / (1 + loss)}


def _log(config: ChaosConfig, what: str, epoch: int) -> None:
    true_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)  # `time.time_ns` may be told another time
    with Path(os.environ[LOG]).open("a") as file:  # one short write at the end of a file is never torn
        file.write(f"{config.name}|{what}|{epoch}|{os.getpid()}|{true_ns}\n")


def _stage(name: str) -> Stage:
    return Stage(name=name, version=1, config=ChaosConfig, run=run, n_steps=lambda config: config.n_epochs)


STAGES = {name: _stage(name) for name in ("source", "harvest", "prior", "target")}


def _node(stage: str, name: str, parents: Sequence[Node] = (), **settings: object) -> Node:
    config = ChaosConfig(name=name, **settings)  # type: ignore[arg-type]
    labels = {"method": settings.get("method", name)}
    labels |= {"train_size": config.train_size, "split": config.split} if stage == "target" else {}
    return make_node(STAGES[stage], config, {"from": tuple(parents)} if parents else {}, labels)


def chaos_sweep(name: str = "chaos") -> Sweep:
    """The shape of a real one: 2 sources, a harvest, 2 priors, 6 targets; 11 nodes, 73 epochs."""
    sources = [_node("source", f"source{i}") for i in range(2)]
    harvest = _node("harvest", "harvest", sources, n_epochs=1)
    priors = [_node("prior", f"prior{i}", [harvest]) for i in range(2)]
    needs = {"random_init": [], "fine_tune": sources[:1], "deep_weight_prior": priors}
    targets = [
        _node("target", f"{method}{split}", parents, method=method, split=split, n_epochs=7)
        for method, parents in needs.items()
        for split in range(2)
    ]
    nodes = [*sources, harvest, *priors, *targets]
    return Sweep(
        name=name,
        nodes={node.key: node for node in nodes},
        targets=tuple(node.key for node in targets),
        resources={stage: ResourcesConfig(cpu=1.0, gpu=0.0) for stage in STAGES},
    )


def read_log(path: Path) -> list[Line]:
    """What the stages did, in order."""
    if not path.exists():
        return []
    rows = [line.split("|") for line in path.read_text().splitlines()]
    return [Line(name, what, int(epoch), int(pid), int(ns)) for name, what, epoch, pid, ns in rows]
