"""The benches by name: a further one is one file and one line here."""

from __future__ import annotations

from dwp_sweep.bench.frame import Bench
from dwp_sweep.bench.step import step
from tests.benchmarks.augment import augment
from tests.benchmarks.bound import bound
from tests.benchmarks.data import data
from tests.benchmarks.fraction import fraction
from tests.benchmarks.load import load
from tests.benchmarks.makespan import makespan
from tests.benchmarks.memory import memory
from tests.benchmarks.noise import noise
from tests.benchmarks.scale import scale
from tests.benchmarks.subjects import subjects

BENCHES: dict[str, Bench] = {
    "augment": augment,
    "bound": bound,
    "data": data,
    "fraction": fraction,
    "load": load,
    "makespan": makespan,
    "memory": memory,
    "noise": noise,
    "scale": scale,
    "step": step,
    "subjects": subjects,
}

ONLY_BY_NAME = ("load", "subjects")
"""Those that take many minutes: left out where no bench is named."""
