"""What a trial of a stage asks for, what the cluster has, how many trials are handed to Tune at once.

Stages ask for few different resources, because Tune reuses an actor only for trials of equal ones. Handing
out only what fits plus one keeps the order of the queue open (a trial in Tune's hands cannot be overtaken)
and shows an autoscaler that there is more to do.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.errors import Problem
from dwp_sweep.stages.workload import workload_of

_ROUNDING = 1e-6
_GB = 1e9
_ACCELERATOR, _SHARE_OF_A_TYPE = "accelerator_type:", 0.001
"""Ray gives each machine one of its accelerator's type; a trial asks for so little that all may."""


class Resources(NamedTuple):
    """Logical resources of a trial, or of a machine.

    Attributes:
        cpu: CPU slots.
        gpu: GPU slots.
        memory: Bytes of main memory; 0: not counted.
        other: (Ray's name, amount) of accelerator types and of what machines declare, by name.
    """

    cpu: float
    gpu: float
    memory: float = 0.0
    other: tuple[tuple[str, float], ...] = ()

    @property
    def bundle(self) -> dict[str, float]:
        """The same by Ray's names; a zero is left out."""
        own = (("CPU", self.cpu), ("GPU", self.gpu), ("memory", self.memory))
        return {name: amount for name, amount in (*own, *self.other) if amount}


Machines = Callable[[], Sequence[Resources]]
"""The machines that are alive now."""


def this_machine() -> Resources:
    """What Ray would find here: cores, and NVIDIA devices that are not hidden."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        n_gpus = len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    else:
        n_gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    memory = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return Resources(float(os.cpu_count() or 1), float(n_gpus), memory)


def resources_of(stage: str, configs: Mapping[str, ResourcesConfig], has_gpu: bool) -> Resources:
    """What a trial of a stage asks for."""
    config = configs.get(stage, ResourcesConfig())
    gpu = config.gpu if config.gpu is not None else (workload_of(stage).gpu if has_gpu else 0.0)
    other = dict(config.custom)
    if config.accelerator_type is not None:
        other[f"{_ACCELERATOR}{config.accelerator_type}"] = _SHARE_OF_A_TYPE
    return Resources(config.cpu, gpu, (config.memory or 0.0) * _GB, tuple(sorted(other.items())))


def slots(resources: Resources, machines: Sequence[Resources]) -> int:
    """How many trials that ask for so much run at once on these machines."""
    needed = resources.bundle

    def fit(machine: Resources) -> int:
        if not resources.memory and not resources.other:  # the common case, asked again and again
            pairs = [(resources.cpu, machine.cpu), (resources.gpu, machine.gpu)]
        else:
            has = machine.bundle
            pairs = [(amount, has.get(name, 0.0)) for name, amount in needed.items()]
        counts = [have / need for need, have in pairs if need > 0]
        return math.floor(min(counts) + _ROUNDING) if counts else 0

    return sum(map(fit, machines))


def impossible(by_stage: Mapping[str, Resources], machines: Sequence[Resources]) -> list[Problem]:
    """One problem for each stage whose trials fit on no machine and so would never start."""
    stages = {stage: needed for stage, needed in by_stage.items() if slots(needed, machines) == 0}
    named = {stage: _unknown(stage, needed, machines) for stage, needed in stages.items()}
    problems = [problem for of_stage in named.values() for problem in of_stage]
    return problems + _too_small({stage: stages[stage] for stage in stages if not named[stage]}, machines)


def _unknown(stage: str, needed: Resources, machines: Sequence[Resources]) -> list[Problem]:
    """Accelerator types and declared resources of which no machine has enough."""
    problems = []
    for name, amount in needed.other:
        if any(dict(machine.other).get(name, 0.0) >= amount for machine in machines):
            continue
        known = {other for machine in machines for other, _ in machine.other}
        if name.startswith(_ACCELERATOR):
            types = sorted(
                other.removeprefix(_ACCELERATOR) for other in known if other.startswith(_ACCELERATOR)
            )
            where = f"resources.{stage}.accelerator_type = {name.removeprefix(_ACCELERATOR)}"
            there = f"there are {', '.join(types)}" if types else "no machine says what it has"
        else:
            most = max((dict(machine.other).get(name, 0.0) for machine in machines), default=0.0)
            where = f"resources.{stage}.custom.{name} = {amount:g}"
            there = f"at most {most:g}" if most else "no machine declares it"
        fix = "name one that the cluster has, or leave it out"
        problems.append(Problem(where, f"no machine has it: {there}", fix))
    return problems


def _too_small(by_stage: Mapping[str, Resources], machines: Sequence[Resources]) -> list[Problem]:
    largest_cpu = max((machine.cpu for machine in machines), default=0.0)
    largest_gpu = max((machine.gpu for machine in machines), default=0.0)
    largest_memory = max((machine.memory for machine in machines), default=0.0)
    listed = ""
    if len(machines) > 1:
        counts = sorted(Counter((m.cpu, m.gpu) for m in machines).items(), reverse=True)
        listed = f" (machines: {', '.join(f'{n} of {cpu:g} and {gpu:g}' for (cpu, gpu), n in counts)})"
    return [
        Problem(
            f"resources.{stage}",
            f"asks for {needed.cpu:g} CPUs and {needed.gpu:g} GPUs{_memory_text(needed.memory)}; "
            f"the largest machine has {largest_cpu:g} and {largest_gpu:g}"
            f"{_memory_text(largest_memory if needed.memory else 0.0)}{listed}",
            "lower it, or run on a cluster that has them (--address)",
        )
        for stage, needed in by_stage.items()
    ]


def _memory_text(memory: float) -> str:
    return f" and {memory / _GB:.3g} GB of memory" if memory else ""


class Admission:
    """Decides how many trials are in Tune's hands: those that fit now and a spare one of each kind.

    Args:
        machines: Called every time, because clusters grow and shrink.
        max_concurrent: Upper bound on all trials at once, the spare one included; None: no bound.
        has_spare: Whether a spare one is admitted.
    """

    def __init__(self, machines: Machines, max_concurrent: int | None = None, has_spare: bool = True) -> None:
        self._machines = machines
        self._max = max_concurrent
        self._has_spare = has_spare
        self._fitting: dict[str, Resources] = {}
        self._spare: dict[str, Resources] = {}
        self._taken: Counter[Resources] = Counter()

    def admits(self, resources: Resources) -> bool:
        """Whether a further trial that asks for so much may be handed to Tune."""
        if self._is_full:
            return False
        return self._fits(resources) or (self._has_spare and resources not in self._spare.values())

    def has_room(self, resources: Resources) -> bool:
        """Whether a further trial that asks for so much would start at once."""
        return not self._is_full and self._fits(resources)

    def n_slots(self, resources: Resources) -> int:
        """How many trials that ask for so much can run at once, whatever runs now; at least 1."""
        n_slots = slots(resources, self._machines())
        return max(1, n_slots if self._max is None else min(n_slots, self._max))

    def take(self, trial_id: str, resources: Resources) -> None:
        """A trial was handed to Tune."""
        if self._fits(resources):
            self._fitting[trial_id] = resources
            self._taken[resources] += 1
        else:
            self._spare[trial_id] = resources

    def release(self, trial_id: str) -> None:
        """A trial has ended; a spare one may take its place."""
        ended = self._fitting.pop(trial_id, None)
        if ended is not None:
            self._taken[ended] -= 1
        self._spare.pop(trial_id, None)
        for spare_id, resources in list(self._spare.items()):
            if self._fits(resources):
                del self._spare[spare_id]
                self.take(spare_id, resources)

    @property
    def _is_full(self) -> bool:
        return self._max is not None and len(self._fitting) + len(self._spare) >= self._max

    def _fits(self, resources: Resources) -> bool:
        machines = self._machines()
        if self._taken[resources] >= slots(resources, machines):
            return False
        used = [(shape, n) for shape, n in self._taken.items() if n] + [(resources, 1)]
        cpu = sum(shape.cpu * n for shape, n in used)
        gpu = sum(shape.gpu * n for shape, n in used)
        memory = sum(shape.memory * n for shape, n in used) if resources.memory else 0.0
        return (
            cpu <= sum(machine.cpu for machine in machines) + _ROUNDING
            and gpu <= sum(machine.gpu for machine in machines) + _ROUNDING
            and memory <= sum(machine.memory for machine in machines) + _ROUNDING
        )
