"""A toy search: two shared sources, targets whose score is a known function of what is suggested."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dwp_sweep.config.node import Node, make_node, with_trial
from dwp_sweep.config.search.definition import SearchCondition, SearchSpace
from dwp_sweep.config.search.distribution import Distribution
from dwp_sweep.config.sections import (
    BudgetConfig,
    ObjectiveConfig,
    ResourcesConfig,
    SchedulerConfig,
    SearcherConfig,
)
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.store.protocol import Store
from dwp_sweep.strict import StrictModel, parse, unkeyed

SUBJECTS = [f"s{i}" for i in range(8)]


class ToyTarget(StrictModel):
    x: float = 0.0
    source: int = 0
    condition: int = 0
    split: int = 0
    n_epochs: int = 9
    epoch_s: float = 0.0
    fails: bool = False
    log: str = unkeyed("")


class ToySource(StrictModel):
    number: int
    fails: str = unkeyed("")
    log: str = unkeyed("")


def quality(config: ToyTarget) -> float:
    """Best at x = 3; the split shifts everybody alike."""
    return 0.9 - 0.01 * abs(config.x - 3.0) - 0.05 * config.split


def run_target(
    config: ToyTarget, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    _log(config.log, f"target x={config.x:g} condition={config.condition} split={config.split}")
    if config.fails:
        raise RuntimeError("not this one")
    best = quality(config)
    for epoch in range(1, config.n_epochs + 1):
        time.sleep(config.epoch_s)
        emit("target", epoch, {"val_dice": best * epoch / config.n_epochs})
    scores = {name: {"dice": best + 0.001 * place} for place, name in enumerate(SUBJECTS)}
    (out_dir / "val_scores.json").write_text(json.dumps(scores))
    return {"best_val_dice": best}


def run_source(
    config: ToySource, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    _log(config.log, f"source {config.number}")
    if config.fails in ("all", str(config.number)):
        raise RuntimeError("not this source")
    emit("source", 1, {"val_dice": 0.0})
    return {"best_val_dice": 0.0}


def _log(path: str, text: str) -> None:
    if path:
        with Path(path).open("a") as file:
            file.write(text + "\n")


SEARCH_STAGES = {
    "source": Stage("source", 1, ToySource, run_source, lambda config: 1),
    "target": Stage("target", 1, ToyTarget, run_target, lambda config: config.n_epochs),
}


def search_space(
    distributions: Mapping[str, Any] | None = None,
    n_trials: int = 6,
    n_conditions: int = 1,
    n_repeats: int = 1,
    kind: str = "tpe",
    scheduler: Mapping[str, Any] | None = None,
    seed: int = 0,
    objectives: Sequence[str] = ("val_dice",),
    values: Mapping[str, Any] | None = None,
    **searcher: Any,
) -> SearchSpace:
    raw = {"x": {"float": [0, 10]}, "source": {"int": [0, 1]}} if distributions is None else distributions
    return SearchSpace(
        distributions={key: parse(Distribution, one, "test") for key, one in raw.items()},
        objectives=tuple(ObjectiveConfig(metric=name) for name in objectives),
        searcher=SearcherConfig(kind=kind, n_trials=n_trials, seed=seed, **searcher),  # type: ignore[arg-type]
        scheduler=parse(SchedulerConfig, scheduler or {"kind": "none"}, "test"),
        conditions=tuple(
            SearchCondition(
                f"condition={c}" if n_conditions > 1 else "all",
                tuple(range(c * n_repeats, (c + 1) * n_repeats)),
                dict(values or {}),
            )
            for c in range(n_conditions)
        ),
    )


def search_sweep(
    search: SearchSpace,
    log: Path | str = "",
    name: str = "toy",
    budget: BudgetConfig | None = None,
    source_fails: str = "",
    **settings: Any,
) -> Sweep:
    """A sweep whose configurations need one of two sources, like two latent dimensions that need priors."""
    nodes: dict[str, Node] = {}
    asked: list[str] = []
    n_repeats = len(search.conditions[0].members)

    def resolve(values: Mapping[str, Any], place: int, trial: int | None = None) -> Node:
        of_source = ToySource(number=values.get("source", 0), log=str(log), fails=source_fails)
        source = make_node(SEARCH_STAGES["source"], of_source)
        nodes.setdefault(source.key, source)
        plain = {key: value for key, value in values.items() if key in ToyTarget.model_fields}
        config = ToyTarget(
            **plain, condition=place // n_repeats, split=place % n_repeats, log=str(log), **settings
        )
        target = make_node(SEARCH_STAGES["target"], config, {"from": (source,)}, {"method": "toy"})
        nodes.setdefault(target.key, target if trial is None else with_trial(target, trial))
        if target.key not in asked:
            asked.append(target.key)
        return nodes[target.key]

    return Sweep(
        name=name,
        nodes=nodes,
        targets=asked,
        resources={stage: ResourcesConfig(cpu=1.0, gpu=0.0) for stage in SEARCH_STAGES},
        search=search,
        budget=budget or BudgetConfig(),
        resolve=resolve,
        fresh=lambda: search_sweep(search, log, name, budget, source_fails, **settings),
    )


def build(store: Store, node: Node) -> str:
    """Run a node here and now."""
    return run_node(node, SEARCH_STAGES[node.stage], store).status
