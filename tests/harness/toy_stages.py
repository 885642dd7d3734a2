"""Tiny stages that behave as a test asks: quick, slow, failing, dying, noisy. Importable in Ray's workers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dwp_sweep.config.node import Node, make_node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import DeviceMemoryError, DivergedError
from dwp_sweep.stages.contract import SCANS, SCANS_READ, Emit, Inputs, Stage
from dwp_sweep.strict import StrictModel, unkeyed


class ToyConfig(StrictModel):
    name: str
    n_epochs: int = 2
    epoch_s: float = 0.0
    behaviour: str = "works"
    log: str = unkeyed("")


def run(config: ToyConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit) -> Mapping[str, float]:
    _log(config, "begin")
    if config.behaviour == "reads scans":
        emit("toy", 0, {SCANS_READ: 31, SCANS: 275})
    checkpoint = work_dir / "epoch.txt"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for epoch in range(first + 1, config.n_epochs + 1):
        time.sleep(config.epoch_s)
        _misbehave(config, epoch, first)
        checkpoint.write_text(str(epoch))
        _log(config, f"epoch {epoch}")
        emit("toy", epoch, {"val_loss": 1.0 / epoch})
    names = [
        json.loads((folder / "out.json").read_text())["name"]
        for role in sorted(inputs)
        for folder in inputs[role]
    ]
    (out_dir / "out.json").write_text(json.dumps({"name": config.name, "made_from": names}))
    _log(config, "end")
    return {"score": float(len(names))}


def _misbehave(config: ToyConfig, epoch: int, first: int) -> None:
    if config.behaviour == "diverges":
        raise DivergedError("the loss became nan in step 7; the last finite step was 6")
    if config.behaviour == "has a bug":
        raise ZeroDivisionError("float division by zero")
    if config.behaviour == "runs out of device memory":
        raise DeviceMemoryError("out of memory: lower target.batch_size")
    if config.behaviour == "spoils the reset of its actor":
        from ray.train._internal.session import _TrainSession

        # As if the node's thread outlived the time that Tune gives it.
        _TrainSession.finish = lambda self, timeout=None: None
    if config.behaviour == "dies once" and first == 0 and epoch == 3:
        os.kill(os.getpid(), 9)
    if config.behaviour == "always dies":
        os.kill(os.getpid(), 9)
    if config.behaviour == "freezes once" and first == 0 and epoch == 6:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(1.0)  # the signal stops a process a moment later
    if config.behaviour == "dies in a black hole" and os.environ.get("BLACK_HOLE"):
        os.kill(os.getpid(), 9)
    if config.behaviour == "fails without permit" and not Path(config.log + ".permit").exists():
        raise RuntimeError("not permitted")


def _log(config: ToyConfig, what: str) -> None:
    if config.log:
        with Path(config.log).open("a") as file:
            file.write(f"{config.name}|{what}|{os.getpid()}\n")


def _stage(name: str) -> Stage:
    return Stage(name=name, version=1, config=ToyConfig, run=run, n_steps=lambda config: config.n_epochs)


STAGES = {name: _stage(name) for name in ("source", "harvest", "prior", "target")}


def toy_node(
    stage: str, name: str, parents: Sequence[Node] = (), log: Path | str = "", **settings: object
) -> Node:
    config = ToyConfig(name=name, log=str(log), **settings)  # type: ignore[arg-type]
    return make_node(STAGES[stage], config, {"from": tuple(parents)} if parents else {}, {"method": name})


def toy_sweep(*nodes: Node, name: str = "toy", targets: Sequence[Node] = (), cpu: float = 1.0) -> Sweep:
    """A sweep of nodes, parents first; without ``targets`` all nodes of the stage target."""
    wanted = targets or [node for node in nodes if node.stage == "target"]
    return Sweep(
        name=name,
        nodes={node.key: node for node in nodes},
        targets=tuple(node.key for node in wanted),
        resources={stage: ResourcesConfig(cpu=cpu, gpu=0.0) for stage in STAGES},
    )


def demo_sweep(log: Path | str = "", n_targets: int = 16, **settings: object) -> Sweep:
    """The shape of the demo: 2 sources, a harvest, 7 priors, targets of which some need everything."""
    sources = [toy_node("source", f"source{i}", (), log, **settings) for i in range(2)]
    harvest = toy_node("harvest", "harvest", sources, log, **{**settings, "n_epochs": 1})
    priors = [toy_node("prior", f"prior{i}", [harvest], log, **settings) for i in range(7)]
    needs = [(), sources[:1], sources[:1], priors]
    targets = [toy_node("target", f"target{i}", needs[i % 4], log, **settings) for i in range(n_targets)]
    return toy_sweep(*sources, harvest, *priors, *targets)


def slow_sweep(log: Path | str) -> Sweep:
    """Four targets of 40 epochs, long enough to be interrupted."""
    return toy_sweep(*[toy_node("target", f"slow{i}", (), log, n_epochs=40, epoch_s=0.1) for i in range(4)])


def log_lines(log: Path) -> list[tuple[str, str, str]]:
    lines = [line.split("|") for line in log.read_text().splitlines()] if log.exists() else []
    return [(name, what, pid) for name, what, pid in lines]


def runs_of(log: Path, what: str = "begin") -> list[str]:
    """Names of nodes in the order in which they did something."""
    return [name for name, done, _ in log_lines(log) if done == what]
