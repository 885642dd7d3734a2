"""Benches: what a step costs, and what it buys. A further one is one file and one line here."""

from __future__ import annotations

from dwp_sweep.bench.bound import bound
from dwp_sweep.bench.data import data
from dwp_sweep.bench.fraction import fraction
from dwp_sweep.bench.frame import Bench
from dwp_sweep.bench.load import load
from dwp_sweep.bench.makespan import makespan
from dwp_sweep.bench.memory import memory
from dwp_sweep.bench.noise import noise
from dwp_sweep.bench.scale import scale
from dwp_sweep.bench.step import step
from dwp_sweep.bench.subjects import subjects

BENCHES: dict[str, Bench] = {
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
