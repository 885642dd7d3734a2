"""A driver of toy sweeps on a cluster, as a script: ``python -m tests.cluster.toy_driver VALUES ...``.

One sweep after the other, each from a JSON object: ``storage``, ``address``; ``gpu`` of each node; ``data``,
a folder that nodes read; ``wait_s``; ``python``, the version that the cluster claims to run. After what a
sweep prints comes a line ``exit code N``; bad input ends with 2, as in a command.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.local.store import LocalStore
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep


def main(values: dict[str, Any]) -> int:
    """Run it; returns the exit code."""
    if "python" in values:
        _claim_python(values["address"], values["python"])
    try:
        return run_sweep(
            _sweep(values),
            LocalStore(Path(values["storage"])),
            options=RunOptions(address=values["address"], wait_s=values.get("wait_s", 900.0)),
            stages=STAGES,
        ).exit_code
    except InputError as error:
        print(error)
        return 2


def _sweep(values: dict[str, Any]) -> Sweep:
    node = toy_node("target", "one")
    if "data" in values:
        config = {**node.config, "dataset": {"root": values["data"]}}
        node = Node(node.key, node.stage, config, node.inputs, node.labels)
    asked = {stage: ResourcesConfig(cpu=1.0, gpu=values.get("gpu", 0.0)) for stage in STAGES}
    return replace(toy_sweep(node), resources=asked)


def _claim_python(address: str, version: str) -> None:
    import ray
    from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

    ray.init(address=address, log_to_driver=False)
    facts = json.loads(_internal_kv_get("CLUSTER_METADATA", namespace="cluster"))
    facts["python_version"] = version
    _internal_kv_put("CLUSTER_METADATA", json.dumps(facts), namespace="cluster")
    ray.shutdown()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print("exit code", main(json.loads(argument)), flush=True)
