"""A finished target trained once more: same settings, the very same upstream nodes, a sweep of its own.

A fresh node, not a cache hit: its ``repeat`` counts the repetitions of equal settings and seed. Upstream
keys are pinned, so what the first training started from is what this one starts from, whatever has
changed in code or files since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dwp_sweep.config.node import Node, make_node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.stages.contract import Stage
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record
from dwp_sweep.store.sweep_record import recorded_resources
from dwp_sweep.strict import parse

SUFFIX = "-retrain"
"""Ends the name of the sweep that holds what was trained again: its scores choose nothing in the first."""


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
    if seed is not None and seed < 0:
        raise InputError(Problem("--seed", f"{seed} is negative", "0 or more"))
    record = _require("target", key, store)
    upstream: dict[str, Node] = {}
    pinned = {
        role: tuple(_upstream(pair, store, upstream) for pair in pairs) for role, pairs in inputs.items()
    }
    node = _fresh(record, pinned, store, stages["target"], seed, all_images, run_id or key)
    gpus = {
        stage: ResourcesConfig(cpu=cpu, gpu=gpu)
        for stage, (cpu, gpu) in recorded_resources(store, sweep).items()
    }
    return Sweep(
        name=sweep + SUFFIX,
        nodes={**upstream, node.key: node},
        targets=(node.key,),
        resources={stage: gpus.get(stage, ResourcesConfig()) for stage in stages},
        settings={"retrained_from": run_id or key, "sweep": sweep, "seed": seed, "all_images": all_images},
    )


def _fresh(
    record: Record,
    inputs: Mapping[str, tuple[Node, ...]],
    store: Store,
    stage: Stage,
    seed: int | None,
    all_images: bool,
    origin: str,
) -> Node:
    changes: dict[str, Any] = {"seed": record.config["seed"] if seed is None else seed}
    changes["all_images"] = all_images
    labels = {**record.labels, "seed": changes["seed"], "retrained_from": origin}
    repeat = 1
    while True:
        # One that was begun and not finished is gone on with.
        config = parse(stage.config, {**record.config, **changes, "repeat": repeat}, f"target {record.key}")
        node = make_node(stage, config, inputs, labels)
        if not store.is_published(node.stage, node.key):
            return node
        repeat += 1


def _upstream(pair: tuple[str, str], store: Store, found: dict[str, Node]) -> Node:
    stage, key = pair
    if key in found:
        return found[key]
    record = _require(stage, key, store)
    # A record names the keys of its inputs alone; only what lies on the storage can be named further.
    parents = {role: tuple(_located(one, store) for one in keys) for role, keys in record.inputs.items()}
    known = {role: tuple(one for one in pairs if one is not None) for role, pairs in parents.items()}
    for pairs in known.values():
        for one in pairs:
            _upstream(one, store, found)
    found[key] = Node(key, stage, record.config, known, record.labels)
    return found[key]


def _located(key: str, store: Store) -> tuple[str, str] | None:
    return next(((stage, key) for stage in STAGES if store.is_published(stage, key)), None)


def _require(stage: str, key: str, store: Store) -> Record:
    record = store.record(stage, key)
    if record is None or not store.is_published(stage, key):
        what = f"{stage} node {key} is not on this storage"
        fix = "name the --storage that the sweep ran on, or run the sweep again"
        raise InputError(Problem(store.place, what, fix))
    return record
