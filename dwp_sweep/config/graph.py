"""Experiments to nodes: which stages a condition needs and what each of them reads.

The one place that knows the pipeline's edges: source nets -> bank -> priors -> target, and source net ->
target. Equal keys are one node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from dwp_sweep.config.experiment import ExperimentConfig, method_settings
from dwp_sweep.config.node import Node, make_node, with_variant
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.nets.kernel_bank import kernel_channels, read_layers
from dwp_sweep.nets.kernel_groups import GROUPS
from dwp_sweep.nets.kernel_prior import layer_misfits, load_prior, require_fit
from dwp_sweep.nets.net_files import read_net_facts
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig
from dwp_sweep.stages.harvest import BANK_FILES, HarvestStageConfig
from dwp_sweep.stages.imported import Imported, describe_imported
from dwp_sweep.stages.prior import PRIOR_FILES, PriorStageConfig
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.stages.source import NET_FILES, SourceConfig, SourceStageConfig
from dwp_sweep.stages.target import TargetStageConfig
from dwp_sweep.strict import StrictModel, plain_values
from dwp_sweep.training.compute import ComputeConfig

FactsT = TypeVar("FactsT")


class GraphBuilder:
    """Resolves conditions one by one; upstream nodes are made once.

    Args:
        datasets: Data sets as written -> with root and fingerprint filled in.
        cache_dir: Folder for preprocessed volumes.
        fetch: Turns ``runs:/<run id>`` into a local folder.
    """

    def __init__(
        self,
        datasets: Mapping[DatasetConfig, DatasetConfig],
        cache_dir: Path,
        fetch: Callable[[str, str], Path] | None = None,
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self._datasets, self._cache_dir, self._fetch = datasets, cache_dir, fetch
        self._memo: dict[Any, Node] = {}
        self._brought: dict[tuple[str, str], Imported | InputError] = {}

    def target(self, condition: ExperimentConfig, variant: str | None = None) -> Node:
        """The target node of a condition, with everything upstream of it.

        Args:
            condition: The experiment.
            variant: Its variant's name; a node that several variants share carries all their names.
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
            dataset=self._datasets[condition.data.target],
            unet=condition.unet,
            target=condition.target,
            loss=condition.loss,
            settings={name: plain_values(section) for name, section in sections.items()},
            compute=self._compute(condition),
        )
        labels = {name: getattr(condition, name) for name in ("method", "train_size", "split", "seed")}
        node = self._add("target", config, inputs, labels)
        if variant is not None:
            self.nodes[node.key] = node = with_variant(node, variant)
        return node

    def problems(self, condition: ExperimentConfig) -> list[Problem]:
        """What is missing or wrong upstream of a condition, all of it; the scans are not looked at."""
        found: list[Problem] = []
        for need in METHODS[condition.method].needs(method_settings(condition)):
            for resolve in self._upstream(condition, need):
                try:
                    resolve()
                except InputError as error:
                    found += error.problems
        return found

    def _upstream(self, condition: ExperimentConfig, need: str) -> list[Callable[[], Node]]:
        if need == "priors":
            return [partial(self._prior, condition, group) for group in GROUPS]
        if need == "bank":
            return [partial(self._bank, condition)]
        return [partial(self._source, condition, 0)]

    def _source(self, condition: ExperimentConfig, seed: int) -> Node:
        settings, loss = _of_sources(condition)
        memo = ("source", seed, condition.data.source, condition.unet, settings, loss, condition.compute)
        if memo in self._memo:
            return self._memo[memo]
        if condition.source.network is not None:
            brought = self._bring(condition.source.network, "source.network", NET_FILES)
            _require_unet(brought, condition.unet)
            config = SourceStageConfig(brought=brought, compute=self._compute(condition))
        else:
            config = SourceStageConfig(
                dataset=self._source_data(condition),
                unet=condition.unet,
                source=settings,
                loss=loss,
                seed=seed,
                compute=self._compute(condition),
            )
        self._memo[memo] = self._add("source", config, {}, {"seed": seed})
        return self._memo[memo]

    def _bank(self, condition: ExperimentConfig) -> Node:
        if condition.harvest.bank is not None:
            brought = self._bring(condition.harvest.bank, "harvest.bank", BANK_FILES)
            _require_bank_layers(brought, condition.unet)
            return self._add("harvest", HarvestStageConfig(brought=brought), {}, {})
        n_sources = 1 if condition.source.network is not None else condition.source.n_seeds
        sources = tuple(self._source(condition, seed) for seed in range(n_sources))
        return self._add("harvest", HarvestStageConfig(harvest=condition.harvest), {"sources": sources}, {})

    def _prior(self, condition: ExperimentConfig, group: int) -> Node:
        upstream = (condition.data.source, condition.unet, *_of_sources(condition), condition.harvest)
        memo = ("prior", group, condition.prior, condition.compute, *upstream)
        if memo in self._memo:
            return self._memo[memo]
        compute = self._compute(condition)
        if condition.prior.path is not None:
            _require_folder(condition.prior.path)
            brought = self._bring(f"{condition.prior.path}/group{group}", "prior.path", PRIOR_FILES)
            _require_prior(brought, group, condition.unet)
            node = self._add(
                "prior", PriorStageConfig(brought=brought, group=group, compute=compute), {}, {"group": group}
            )
        else:
            config = PriorStageConfig(group=group, prior=condition.prior, compute=compute)
            node = self._add("prior", config, {"bank": (self._bank(condition),)}, {"group": group})
        self._memo[memo] = node
        return node

    def _add(
        self,
        stage: str,
        config: StrictModel,
        inputs: Mapping[str, tuple[Node, ...]],
        labels: Mapping[str, Any],
    ) -> Node:
        node = make_node(STAGES[stage], config, inputs, labels)
        return self.nodes.setdefault(node.key, node)

    def _compute(self, condition: ExperimentConfig) -> ComputeConfig:
        return condition.compute.model_copy(update={"cache_dir": str(self._cache_dir.resolve())})

    def _source_data(self, condition: ExperimentConfig) -> DatasetConfig:
        if condition.data.source is None:
            raise InputError(
                Problem(
                    "data.source",
                    f"is missing, and method {condition.method!r} needs source networks",
                    "give it, or bring source.network, harvest.bank or prior.path",
                )
            )
        return self._datasets[condition.data.source]

    def _bring(self, text: str, key: str, files: tuple[str, ...]) -> Imported:
        if (text, key) not in self._brought:
            self._brought[text, key] = self._look_at(text, key, files)
        found = self._brought[text, key]
        if isinstance(found, InputError):
            raise found
        return found

    def _look_at(self, text: str, key: str, files: tuple[str, ...]) -> Imported | InputError:
        try:
            folder = self._folder(text, key)
            # A whole source stage may be given: its first network is the one that starts targets.
            first_cycle = folder / "cycle0"
            folder = first_cycle if key == "source.network" and first_cycle.is_dir() else folder
            return describe_imported(folder, files, key)
        except InputError as error:
            return error  # asked for again by every condition, and an MLflow out of reach answers slowly

    def _folder(self, text: str, key: str) -> Path:
        if not text.startswith("runs:/"):
            return Path(text).expanduser()
        if key == "prior.path":
            what = f"{text.rpartition('/')[0]}: a prior's run holds one group, and seven are needed"
            raise InputError(Problem(key, what, "give a folder with group1 ... group7"))
        if self._fetch is None:
            raise InputError(Problem(key, f"{text} names an MLflow run, but no tracking store is at hand"))
        return self._fetch(text, key)


def _of_sources(condition: ExperimentConfig) -> tuple[SourceConfig, LossConfig]:
    """How the source networks are trained; a loss of their own takes the place of the sweep's."""
    own = condition.source.loss
    if own is None:
        return condition.source, condition.loss
    # The same networks, whoever says what their loss is: one key.
    return condition.source.model_copy(update={"loss": None}), own


def _require_unet(brought: Imported, unet: UNetConfig) -> None:
    facts = _facts(brought, "source.network", read_net_facts)
    if facts.unet != unet:
        what = f"{brought.path} has unet {facts.unet.model_dump()}, the sweep {unet.model_dump()}"
        raise InputError(
            Problem("source.network", what, "make the sweep's unet section equal to the network's")
        )


def _require_folder(text: str) -> None:
    if not text.startswith("runs:/") and not Path(text).expanduser().is_dir():
        raise InputError(
            Problem("prior.path", f"{text}: there is no such folder", "give a folder with group1 ... group7")
        )


def _require_prior(brought: Imported, group: int, unet: UNetConfig) -> None:
    prior = _facts(brought, "prior.path", load_prior)
    if prior.group != group:
        what = f"{brought.path} holds the prior of group {prior.group}"
        raise InputError(Problem("prior.path", what, f"put the one of group {group} there"))
    try:
        require_fit(prior, _shape(unet))
    except ValueError as error:
        raise _other_shape("prior.path", f"{brought.path}: {error}") from None


def _require_bank_layers(brought: Imported, unet: UNetConfig) -> None:
    layers = _facts(brought, "harvest.bank", read_layers)
    net = _shape(unet)
    misfits = [
        misfit
        for group in GROUPS
        for misfit in layer_misfits(layers.get(group, {}), kernel_channels(net, group))
    ]
    if misfits:
        what = f"{brought.path} was harvested from another network: {'; '.join(misfits)}"
        raise _other_shape("harvest.bank", what)


def _other_shape(key: str, what: str) -> InputError:
    return InputError(Problem(key, what, "make the sweep's unet section equal to that network's"))


@lru_cache(maxsize=8)
def _shape(unet: UNetConfig) -> UNet3D:
    """The network without its weights: names and widths of its layers."""
    with torch.device("meta"):
        return UNet3D(**unet.model_dump())


def _facts(brought: Imported, key: str, read: Callable[[Path], FactsT]) -> FactsT:
    try:
        return read(Path(brought.path))
    except ValueError as error:
        raise InputError(Problem(key, str(error), "give files that a stage wrote")) from None


def upstream_problems(
    conditions: Sequence[ExperimentConfig],
    cache_dir: Path,
    fetch: Callable[[str, str], Path] | None = None,
) -> tuple[Problem, ...]:
    """What stands against the conditions before any scan is read: brought outputs, missing source data.

    Args:
        conditions: Of the sweep.
        cache_dir: As for `GraphBuilder`.
        fetch: As for `GraphBuilder`.
    """
    tasks = [one.data for one in conditions]
    datasets = {dataset: dataset for task in tasks for dataset in (task.source, task.target) if dataset}
    builder = GraphBuilder(datasets, cache_dir, fetch)
    return tuple(
        dict.fromkeys(problem for condition in conditions for problem in builder.problems(condition))
    )
