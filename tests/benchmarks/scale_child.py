"""One plan of a given size in a process of its own, so that its memory can be told from that of others.

Run by the bench `scale` as ``python -m tests.benchmarks.scale_child NODES STORAGE``; prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import build_sweep
from dwp_sweep.harness.cost.plan_cost import plan_cost
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.store.local.store import LocalStore


def space_of(n_nodes: int) -> dict[str, Any]:
    """A space with about so many target nodes over two tiny generated data sets."""
    data = {
        name: {
            "layout": "phantom",
            "phantom": {"kind": name, "n_subjects": 6, "shape": [16, 16, 16]},
            "n_val": 1,
            "preprocess": {"shape": [16, 16, 16]},
        }
        for name in ("source", "target")
    }
    data["target"]["n_test"] = 1
    grid = {"method": ["random_init", "fine_tune"], "seed": list(range(max(n_nodes // 2, 1)))}
    return {"name": f"scale-{n_nodes}", "data": data, "fixed": {"train_size": 2}, "grid": grid}


def main(n_nodes: int, storage: Path) -> None:
    """Plan once and print seconds, processor seconds, peak memory in MB, and the number of nodes."""
    build_sweep(load_space(space_of(2)), storage)  # writes the scans, which is not what is measured
    start, start_cpu = time.perf_counter(), time.process_time()
    sweep = build_sweep(load_space(space_of(n_nodes)), storage)
    plan = make_plan(sweep, LocalStore(storage))
    plan_cost(plan, LocalStore(storage))
    values = {
        "seconds": time.perf_counter() - start,
        "cpu_s": time.process_time() - start_cpu,
        "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "nodes": len(sweep.nodes),
    }
    print(json.dumps(values))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
