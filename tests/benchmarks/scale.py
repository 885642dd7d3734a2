"""What a sweep costs before any node runs: planning it, and the searcher's time for each node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dwp_sweep.bench.frame import Row, Setting
from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.resources import Admission, Resources
from dwp_sweep.harness.dispatch import Dispatch
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store

_N_SUGGESTIONS = 100
_FLAT = 1.5
"""Largest ratio of a suggestion among many nodes to one among few that counts as flat: times of some
microseconds scatter."""


def scale(setting: Setting) -> list[Row]:
    """Plans of 100, 1,000 and 10,000 nodes: time, memory, and the searcher's time per suggestion."""
    sizes = (10, 20) if setting.quick else (100, 1_000, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        plans = [_plan(size, Path(folder), setting) for size in sizes]
        suggestions = [_suggestion(size, Path(folder), setting) for size in sizes]
    return [*_related(plans), *_related(suggestions, _FLAT)]


def _plan(size: int, folder: Path, setting: Setting) -> Row:
    setting.tell(f"planning {size} nodes")
    command = [sys.executable, "-m", "tests.benchmarks.scale_child", str(size), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    values = json.loads(done.stdout.splitlines()[-1])
    extra = {name: values[name] for name in ("cpu_s", "MB", "nodes")}
    return Row(f"plan {size}", "read, resolve, compare, estimate", values["seconds"], extra=extra)


def _suggestion(size: int, folder: Path, setting: Setting) -> Row:
    setting.tell(f"handing out nodes of {size}")
    wall, cpu = time_of_suggestions(size, LocalStore(folder / f"suggest-{size}"), min(size, _N_SUGGESTIONS))
    what = "the searcher's choice of a node and its end, writing to the disk included"
    return Row(f"suggestion of {size}", what, wall, extra={"cpu_s": cpu, "nodes": float(size)})


def time_of_suggestions(size: int, store: Store, n_suggestions: int) -> tuple[float, float]:
    """Mean seconds, by the clock and of the processor, to hand out a node and settle it among ``size``."""
    nodes = {f"{place:020x}": Node(f"{place:020x}", "target", {}) for place in range(size)}
    sweep = Sweep("scale", nodes, tuple(nodes), {"target": ResourcesConfig()})
    ledger = Ledger(Plan(sweep, dict.fromkeys(nodes, "ready")), Durations(), lambda event: None)
    shapes = {"target": Resources(1.0, 0.0)}
    admission = Admission(lambda: [Resources(8.0, 0.0)])
    dispatch = Dispatch(ledger, store, admission, shapes)
    start, start_cpu = time.perf_counter(), time.process_time()
    for place in range(n_suggestions):
        node = dispatch.next_node(str(place))
        if node is None:
            raise RuntimeError("no node was handed out")
        ledger.published(node, 1.0, {})
        admission.release(str(place))
    spent = time.perf_counter() - start, time.process_time() - start_cpu
    return spent[0] / n_suggestions, spent[1] / n_suggestions


def _related(rows: Sequence[Row], goal: float | None = None) -> list[Row]:
    base = rows[0]
    unit = base.seconds or 1.0
    return [
        Row(
            row.name,
            row.what,
            row.seconds,
            base.name,
            (row.seconds or 0.0) / unit,
            None if row is base else goal,
            row.extra,
        )
        for row in rows
    ]
