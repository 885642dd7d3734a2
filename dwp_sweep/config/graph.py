"""Experiments to nodes: which stages a condition needs and what each of them reads.

Only this file has the pipeline's edges: source nets -> bank -> priors -> target, source net -> target, and
targets -> ensemble.
Equal keys are one node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dwp_sweep.config.ensembles import EnsembleGroup
from dwp_sweep.config.experiment import ExperimentConfig, method_settings
from dwp_sweep.config.imported import ImportedOutputs
from dwp_sweep.config.node import Node, make_node, with_trial, with_variant
from dwp_sweep.config.plain_values import flat
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.nets.kernel_groups import GROUPS
from dwp_sweep.nets.unet3d import UNetConfig
from dwp_sweep.stages.ensemble import EnsembleStageConfig, MemberConfig
from dwp_sweep.stages.harvest import HarvestStageConfig
from dwp_sweep.stages.prior import PriorStageConfig
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.stages.source import SourceConfig, SourceStageConfig
from dwp_sweep.stages.target import SourceChoice, TargetStageConfig
from dwp_sweep.strict import StrictModel, keyed_values
from dwp_sweep.training.compute import ComputeConfig

_LABELLED = ("method", "train_size", "split", "seed")
"""Keys that are labels of their own."""


class GraphBuilder:
    """Resolves conditions one by one; upstream nodes are made once.

    Args:
        datasets: Data sets as written -> with root and fingerprint filled in.
        cache_dir: Folder for preprocessed volumes.
        fetch: Turns ``runs:/<run id>`` into a local folder.
        asked: Dotted keys that the sweep asks about: each node has those that it depends on among its labels.
    """

    def __init__(
        self,
        datasets: Mapping[DatasetConfig, DatasetConfig],
        cache_dir: Path,
        fetch: Callable[[str, str], Path] | None = None,
        asked: Sequence[str] = (),
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self._datasets, self._cache_dir = datasets, cache_dir
        self._imports = ImportedOutputs(fetch)
        self._asked = tuple(key for key in asked if key not in _LABELLED)
        self._memo: dict[Any, Node] = {}

    def target(
        self, condition: ExperimentConfig, variant: str | None = None, trial: int | None = None
    ) -> Node:
        """The target node of a condition, with everything upstream of it.

        Args:
            condition: The experiment.
            variant: Its variant's name; a node that several variants share carries all their names.
            trial: Its number in its search.
        """
        sections = method_settings(condition)
        inputs = {
            need: tuple(resolve() for resolve in self._upstream(condition, need))
            for need in METHODS[condition.method].needs(sections)
        }
        config = TargetStageConfig(
            method=condition.method,
            train_size=condition.train_size,
            split=condition.split,
            seed=condition.seed,
            fold=condition.fold,
            dataset=self._datasets[condition.data.target],
            source=SourceChoice(member=condition.source.member) if "source" in inputs else None,
            unet=_with_outputs(condition.unet, condition.data.target),
            target=condition.target,
            loss=condition.loss,
            settings={name: section.model_dump(mode="json") for name, section in sections.items()},
            compute=self._compute(condition),
        )
        labels = {name: getattr(condition, name) for name in ("method", "train_size", "split", "seed")}
        labels |= {} if condition.fold is None else {"fold": condition.fold}
        node = self._add("target", config, inputs, labels)
        if variant is not None:
            self.nodes[node.key] = node = with_variant(node, variant)
        if trial is not None:
            self.nodes[node.key] = node = with_trial(node, trial)
        return node

    def ensemble(
        self,
        conditions: Sequence[ExperimentConfig],
        targets: Sequence[str],
        group: EnsembleGroup,
    ) -> Node:
        """The node that scores the mean of some targets.

        Args:
            conditions: Of the grid.
            targets: Key of the target of each.
            group: Whose mean; equal targets count once.
        """
        places = list({targets[place]: place for place in group.places}.values())
        chosen = [conditions[place] for place in places]
        first = chosen[0]
        config = EnsembleStageConfig(
            method=first.method,
            train_size=first.train_size,
            members=tuple(MemberConfig(split=one.split, seed=one.seed, fold=one.fold) for one in chosen),
            dataset=self._datasets[first.data.target],
            target=first.target,
            compute=self._compute(first),
        )
        labels = {"method": first.method, "train_size": first.train_size, "over": ", ".join(group.over)}
        labels |= {name: getattr(first, name) for name in ("split", "seed") if name not in group.over}
        inputs = {"targets": tuple(self.nodes[targets[place]] for place in places)}
        node = self._add("ensemble", config, inputs, labels)
        if group.variant is not None:
            self.nodes[node.key] = node = with_variant(node, group.variant)
        return node

    def problems(self, condition: ExperimentConfig) -> list[Problem]:
        """Everything that is missing or wrong upstream of a condition, but for the scans."""
        problems: list[Problem] = []
        needs = METHODS[condition.method].needs(method_settings(condition))
        for need in needs:
            for resolve in self._upstream(condition, need):
                try:
                    resolve()
                except InputError as error:
                    problems += error.problems
        if condition.prior.path is not None and "priors" in needs:
            for standardise in self._imports.standardised(condition.prior.path):
                problems += condition.misfits(standardise)
        return problems

    def _upstream(self, condition: ExperimentConfig, need: str) -> list[Callable[[], Node]]:
        if need == "priors":
            return [partial(self._prior, condition, group) for group in GROUPS]
        if need == "bank":
            return [partial(self._bank, condition)]
        return [partial(self._source, condition, condition.source.seed_of(condition.split))]

    def _source(self, condition: ExperimentConfig, seed: int) -> Node:
        settings, loss = _of_sources(condition)
        memo = ("source", seed, condition.data.source, condition.unet, settings, loss, condition.compute)
        if memo in self._memo:
            return self._memo[memo]
        if condition.source.network is not None:
            imported = self._imports.network(condition.source.network, condition.unet)
            config = SourceStageConfig(brought=imported, compute=self._compute(condition))
        elif condition.data.source is None:
            what = f"is missing, and method {condition.method!r} needs source networks"
            fix = "give it, or bring source.network, harvest.bank or prior.path"
            raise InputError(Problem("data.source", what, fix))
        else:
            config = SourceStageConfig(
                dataset=self._datasets[condition.data.source],
                unet=_with_outputs(condition.unet, condition.data.source),
                source=settings,
                loss=loss,
                seed=seed,
                compute=self._compute(condition),
            )
        self._memo[memo] = self._add("source", config, {}, {"seed": seed})
        return self._memo[memo]

    def _bank(self, condition: ExperimentConfig) -> Node:
        if condition.harvest.bank is not None:
            imported = self._imports.bank(condition.harvest.bank, condition.unet)
            return self._add("harvest", HarvestStageConfig(brought=imported), {}, {})
        sources = tuple(self._source(condition, seed) for seed in range(condition.source.n_networks))
        config = HarvestStageConfig(harvest=condition.harvest)
        # No source network knows how many of its kind there are.
        n_seeds = {"source.n_seeds": condition.source.n_seeds}
        return self._add("harvest", config, {"sources": sources}, {}, n_seeds)

    def _prior(self, condition: ExperimentConfig, group: int) -> Node:
        upstream = (condition.data.source, condition.unet, *_of_sources(condition), condition.harvest)
        memo = ("prior", group, condition.prior, condition.compute, *upstream)
        if memo in self._memo:
            return self._memo[memo]
        compute, inputs = self._compute(condition), {}
        if condition.prior.path is not None:
            imported = self._imports.prior(condition.prior.path, group, condition.unet)
            config = PriorStageConfig(brought=imported, group=group, compute=compute)
        else:
            config = PriorStageConfig(group=group, prior=condition.prior, compute=compute)
            inputs = {"bank": (self._bank(condition),)}
        self._memo[memo] = self._add("prior", config, inputs, {"group": group})
        return self._memo[memo]

    def _add(
        self,
        stage: str,
        config: StrictModel,
        inputs: Mapping[str, tuple[Node, ...]],
        labels: Mapping[str, Any],
        more: Mapping[str, Any] | None = None,
    ) -> Node:
        node = make_node(STAGES[stage], config, inputs, labels)
        if node.key in self.nodes or not self._asked:
            return self.nodes.setdefault(node.key, node)
        settings: dict[str, Any] = {}
        for _, key in node.parents:
            settings |= self.nodes[key].labels.get("settings", {})
        own = {**_keyed_settings(stage, config), **(more or {})}
        settings |= {name: value for name, value in own.items() if self._is_asked(name)}
        ordered = {name: settings[name] for key in self._asked for name in settings if _covers(key, name)}
        self.nodes[node.key] = replace(
            node, labels={**node.labels, "settings": ordered} if ordered else node.labels
        )
        return self.nodes[node.key]

    def _is_asked(self, name: str) -> bool:
        return any(_covers(key, name) for key in self._asked)

    def _compute(self, condition: ExperimentConfig) -> ComputeConfig:
        return condition.compute.model_copy(update={"cache_dir": str(self._cache_dir.resolve())})


def _keyed_settings(stage: str, config: StrictModel) -> dict[str, Any]:
    """What decides a node's own result, under the keys of a search space."""
    values = keyed_values(config)
    values |= values.pop("settings", None) or {}
    data = {"data": {stage: values.pop("dataset")}} if values.get("dataset") else {}
    return flat({**values, **data})


def _covers(key: str, name: str) -> bool:
    """Whether a key names a field or a section that it is in."""
    return name == key or name.startswith(f"{key}.")


def upstream_problems(
    conditions: Sequence[ExperimentConfig],
    cache_dir: Path,
    fetch: Callable[[str, str], Path] | None = None,
) -> tuple[Problem, ...]:
    """Problems that show before any scan is read: imported outputs, missing source data.

    Args:
        conditions: Of the sweep.
        cache_dir: As for `GraphBuilder`.
        fetch: As for `GraphBuilder`.
    """
    tasks = [condition.data for condition in conditions]
    datasets = {dataset: dataset for task in tasks for dataset in (task.source, task.target) if dataset}
    builder = GraphBuilder(datasets, cache_dir, fetch)
    return tuple(
        dict.fromkeys(problem for condition in conditions for problem in builder.problems(condition))
    )


def _with_outputs(unet: UNetConfig, dataset: DatasetConfig) -> UNetConfig:
    """The network for the classes of a data set."""
    return unet.model_copy(update={"n_classes": dataset.n_outputs})


def _of_sources(condition: ExperimentConfig) -> tuple[SourceConfig, LossConfig]:
    """How the source networks are trained; their own loss replaces the sweep's."""
    own = condition.source.loss
    if own is None:
        return condition.source, condition.loss
    # Networks with the same loss have one key, whichever section names the loss.
    return condition.source.model_copy(update={"loss": None}), own
