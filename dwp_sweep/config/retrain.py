"""A finished target trained once more: same settings, same upstream nodes, a sweep of its own.

The target is a fresh node, not a cache hit: its ``repeat`` counts the repetitions of equal settings and seed.
Upstream keys are pinned: both trainings start from the same files, even if code or data changed in between.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from dwp_sweep.config.node import Node, make_node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.stages.contract import Stage
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record
from dwp_sweep.store.sweep_record import recorded_resources, recorded_settings
from dwp_sweep.strict import LARGEST, parse

SUFFIX = "-retrain"
"""Ends the name of the sweep of retrained targets, so that their scores select nothing in the first sweep."""


def retrain_sweep(
    sweep: str,
    key: str,
    inputs: Mapping[str, tuple[tuple[str, str], ...]],
    store: Store,
    run_id: str = "",
    seed: int | None = None,
    all_images: bool = False,
    stages: Mapping[str, Stage] = STAGES,
) -> Sweep:
    """The sweep ``<sweep>-retrain`` with one target: a published one once more.

    Args:
        sweep: Name of the sweep that it comes from.
        key: Of the target to train again.
        inputs: Role -> ((stage, key), ...) of what it read.
        store: Where it and its inputs lie.
        run_id: Its run in MLflow, kept as the label ``retrained_from``.
        seed: Of its start, order and noise; None: the same.
        all_images: Train on all images that do not test.
        stages: Stages by name.

    Raises:
        InputError: The target or one of its inputs is not on this storage, or a negative seed.
    """
    if seed is not None and not 0 <= seed <= LARGEST:
        what = f"{seed} is negative" if seed < 0 else f"{seed} is too large"
        raise InputError(Problem("--seed", what, f"0 to {LARGEST}"))
    record, stage = _require("target", key, store), stages["target"]
    upstream: dict[str, Node] = {}
    pinned = {
        role: tuple(_upstream(stage, key, store, upstream) for stage, key in pairs)
        for role, pairs in inputs.items()
    }
    origin = run_id or key
    changes = {"seed": record.config["seed"] if seed is None else seed, "all_images": all_images}
    labels = {**record.labels, "seed": changes["seed"], "retrained_from": origin}
    for repeat in itertools.count(1):
        values = {**record.config, **changes, "repeat": repeat}
        node = make_node(stage, parse(stage.config, values, f"target {record.key}"), pinned, labels)
        if not store.is_published(node.stage, node.key):  # new, or begun and not finished
            break
    resources = {
        stage: ResourcesConfig(cpu=cpu, gpu=gpu)
        for stage, (cpu, gpu) in recorded_resources(store, sweep).items()
    }
    private = {name: value for name, value in recorded_settings(store, sweep).items() if name == "tracking"}
    return Sweep(
        name=sweep + SUFFIX,
        nodes={**upstream, node.key: node},
        targets=(node.key,),
        resources={stage: resources.get(stage, ResourcesConfig()) for stage in stages},
        settings={"retrained_from": origin, "sweep": sweep, "seed": seed, "all_images": all_images} | private,
    )


def _upstream(stage: str, key: str, store: Store, nodes: dict[str, Node]) -> Node:
    """A published node, added to ``nodes`` after its own inputs."""
    if key not in nodes:
        record = _require(stage, key, store)
        # A record holds the keys of its inputs without their stages: inputs that gc removed are left out.
        inputs = {
            role: tuple(
                (other, parent) for parent in keys for other in STAGES if store.is_published(other, parent)
            )
            for role, keys in record.inputs.items()
        }
        for pairs in inputs.values():
            for other, parent in pairs:
                _upstream(other, parent, store, nodes)
        nodes[key] = Node(key, stage, record.config, inputs, record.labels)
    return nodes[key]


def _require(stage: str, key: str, store: Store) -> Record:
    record = store.record(stage, key)
    if record is None or not store.is_published(stage, key):
        what = f"{stage} node {key} is not on this storage"
        fix = "name the --storage that the sweep ran on, or run the sweep again"
        raise InputError(Problem(store.place, what, fix))
    return record
