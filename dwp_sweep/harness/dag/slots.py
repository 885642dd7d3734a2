"""What a trial of a stage asks for, what the cluster has, how many trials are handed to Tune at once.

Few shapes, because Tune reuses an actor only for trials of equal resources. Handing out only what fits
plus one keeps the order of the queue open (a trial in Tune's hands cannot be overtaken) and shows an
autoscaler that there is more to do. Knows nothing of the DAG; asks Ray only through `Machines`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dwp_sweep.config.resources import ResourcesConfig
from dwp_sweep.errors import Problem
from dwp_sweep.stages.workload import workload_of


class Resources(NamedTuple):
    """Logical resources of a trial, or of a machine."""

    cpu: float
    gpu: float

    @property
    def bundle(self) -> dict[str, float]:
        """The same by Ray's names; a device's zero is left out."""
        return {name: amount for name, amount in (("CPU", self.cpu), ("GPU", self.gpu)) if amount}


Machines = Callable[[], Sequence[Resources]]
"""The machines that are alive now."""


def resources_of(stage: str, resources: Mapping[str, ResourcesConfig], has_gpu: bool) -> Resources:
    """What a trial of a stage asks for."""
    asked = resources.get(stage, ResourcesConfig())
    gpu = asked.gpu if asked.gpu is not None else (workload_of(stage).gpu if has_gpu else 0.0)
    return Resources(asked.cpu, gpu)


def slots(shape: Resources, machines: Sequence[Resources]) -> int:
    """How many trials of one shape run at once on these machines."""
    return sum(_fit(shape, machine) for machine in machines)


def impossible(shapes: Mapping[str, Resources], machines: Sequence[Resources]) -> list[Problem]:
    """One problem for each stage whose trials fit on no machine: they would wait for ever."""
    largest = Resources(
        max((m.cpu for m in machines), default=0.0), max((m.gpu for m in machines), default=0.0)
    )
    return [
        Problem(
            f"resources.{stage}",
            f"asks for {shape.cpu:g} CPUs and {shape.gpu:g} GPUs; "
            f"the largest machine has {largest.cpu:g} and {largest.gpu:g}{_listed(machines)}",
            "lower it, or run on a cluster that has them (--address)",
        )
        for stage, shape in shapes.items()
        if slots(shape, machines) == 0
    ]


def _listed(machines: Sequence[Resources]) -> str:
    """What there is, where several machines make that a question."""
    if len(machines) < 2:
        return ""
    counts = [f"{n} of {m.cpu:g} and {m.gpu:g}" for m, n in sorted(Counter(machines).items(), reverse=True)]
    return f" (machines: {', '.join(counts)})"


class Admission:
    """Decides how many trials are in Tune's hands: those that fit now and one more of each shape.

    Args:
        machines: Asked every time, because clusters grow and shrink.
        max_concurrent: Upper bound on all trials at once, the one more included; None: no bound.
    """

    def __init__(self, machines: Machines, max_concurrent: int | None = None) -> None:
        self._machines = machines
        self._max = max_concurrent
        self._fitting: dict[str, Resources] = {}
        self._spare: dict[str, Resources] = {}

    def admits(self, shape: Resources) -> bool:
        """Whether a further trial of this shape may be handed to Tune."""
        if self._max is not None and len(self._fitting) + len(self._spare) >= self._max:
            return False
        return self._fits(shape) or shape not in self._spare.values()

    def has_room(self, shape: Resources) -> bool:
        """Whether a further trial of this shape would start at once."""
        n_taken = len(self._fitting) + len(self._spare)
        return (self._max is None or n_taken < self._max) and self._fits(shape)

    def n_slots(self, shape: Resources) -> int:
        """How many trials of this shape can run at once, whatever runs now; at least 1."""
        found = slots(shape, self._machines())
        return max(1, found if self._max is None else min(found, self._max))

    def take(self, trial_id: str, shape: Resources) -> None:
        """A trial was handed to Tune."""
        (self._fitting if self._fits(shape) else self._spare)[trial_id] = shape

    def release(self, trial_id: str) -> None:
        """A trial has ended; a spare one may have its place."""
        self._fitting.pop(trial_id, None)
        self._spare.pop(trial_id, None)
        for spare_id, shape in list(self._spare.items()):
            if self._fits(shape):
                self._fitting[spare_id] = self._spare.pop(spare_id)

    def _fits(self, shape: Resources) -> bool:
        machines = self._machines()
        taken = list(self._fitting.values())
        return (
            taken.count(shape) < slots(shape, machines)
            and sum(t.cpu for t in taken) + shape.cpu <= sum(m.cpu for m in machines) + 1e-6
            and sum(t.gpu for t in taken) + shape.gpu <= sum(m.gpu for m in machines) + 1e-6
        )


def _fit(shape: Resources, machine: Resources) -> int:
    counts = [have / asked for asked, have in zip(shape, machine, strict=True) if asked > 0]
    return math.floor(min(counts) + 1e-6) if counts else 0
