"""One experiment: a target network and everything upstream of it, as a user writes it in YAML.

Composes the components' own configs; every default lives with its component.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field, create_model, field_validator, model_validator

from dwp_sweep.data.augment.config import impossible_changes
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.draws import n_validation
from dwp_sweep.data.patches import too_large
from dwp_sweep.errors import Problem, did_you_mean
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import Surroundings
from dwp_sweep.nets.kernel_bank import Standardise
from dwp_sweep.nets.unet3d import UNetConfig
from dwp_sweep.stages.harvest import HarvestConfig
from dwp_sweep.stages.prior_fit import PriorConfig
from dwp_sweep.stages.source import SourceConfig
from dwp_sweep.stages.target import TargetConfig
from dwp_sweep.strict import StrictModel, short_json, unkeyed
from dwp_sweep.training.compute import ComputeConfig


class DataConfig(StrictModel):
    """The two tasks.

    Attributes:
        source: Where knowledge comes from; not needed where network, bank or priors are brought.
        target: Where it goes.
        allow_shared_scans: Go on where scans or patients of the target are in the source too, or scans are
            twice in the target, with a warning in place of the error: the target's test is then not blind.
    """

    source: DatasetConfig | None = None
    target: DatasetConfig
    allow_shared_scans: bool = unkeyed(False)


class ExperimentConfig(StrictModel):
    """One condition of a sweep; parse with `EXPERIMENT`, which adds the methods' own sections.

    Attributes:
        method: How knowledge gets from the source to the target; random_init uses none.
        train_size: Target training images, m.
        split: Which test / validation / training split; each has its own test set, unless data.target.splits
            is independent.
        seed: Of the target network's start, order and noise.
        fold: With data.target.validation: folds, the only fold to train; None: all of them.
    """

    method: str = Field("random_init", json_schema_extra={"enum": list(METHODS)})
    train_size: int = Field(5, ge=1)
    split: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)
    fold: int | None = Field(None, ge=0)
    data: DataConfig
    unet: UNetConfig = UNetConfig()
    source: SourceConfig = SourceConfig()
    harvest: HarvestConfig = HarvestConfig()
    prior: PriorConfig = PriorConfig()
    target: TargetConfig = TargetConfig()
    loss: LossConfig = LossConfig()
    compute: ComputeConfig = ComputeConfig()

    @classmethod
    def advice_on_list(cls, key: str, values: Sequence[Any]) -> str:
        """Several values are an axis of the grid."""
        return f"to compare several values, write them under grid: grid.{key} = {short_json(list(values))}"

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        if value not in METHODS:
            advice = ["must be one of " + ", ".join(METHODS), did_you_mean(value, METHODS)]
            raise ValueError("; ".join(filter(None, advice)))
        return value

    @field_validator("compute")
    @classmethod
    def _cache_is_in_the_storage(cls, value: ComputeConfig) -> ComputeConfig:
        if value.cache_dir:
            raise ValueError("cache_dir is filled in from the storage; leave it out and set --storage")
        return value

    @model_validator(mode="after")
    def _outputs_fit(self) -> ExperimentConfig:
        # Configurations that a sweep answers with name the outputs; nobody else has to.
        n_outputs = self.data.target.n_outputs
        if self.unet.n_classes not in (UNetConfig().n_classes, n_outputs):
            what = f"unet.n_classes is {self.unet.n_classes}, but data.target asks for {n_outputs} outputs"
            raise ValueError(f"{what}; leave it out: it follows from data.target.classes")
        return self

    @model_validator(mode="after")
    def _fold_is_one(self) -> ExperimentConfig:
        target = self.data.target
        if self.fold is None:
            return self
        if target.validation != "folds":
            raise ValueError(
                f"fold is {self.fold}, and data.target.validation is {target.validation}, no folds"
            )
        if self.fold >= target.n_folds:
            raise ValueError(f"fold is {self.fold}, and folds are 0 to {target.n_folds - 1}")
        return self

    @model_validator(mode="after")
    def _channels_fit(self) -> ExperimentConfig:
        wanted = self.unet.in_channels
        for task, dataset in (("source", self.data.source), ("target", self.data.target)):
            if dataset is None or dataset.n_channels == wanted:
                continue
            names = f" ({', '.join(dataset.channel_names)})" if dataset.channel_names else ""
            channels = f"{dataset.n_channels} channel{'' if dataset.n_channels == 1 else 's'}{names}"
            raise ValueError(
                f"unet.in_channels is {wanted}, but a scan of data.{task} has {channels}; "
                f"set unet.in_channels: {dataset.n_channels}, or list {wanted} of modality, image_pattern or "
                f"channel in data.{task}"
            )
        return self

    @model_validator(mode="after")
    def _method_fits(self) -> ExperimentConfig:
        standardise = None if self.prior.path is not None else self.prior.standardise
        if problems := self.misfits(standardise):
            raise ValueError("; ".join(f"{one.where} = {one.what}; {one.fix}" for one in problems))
        return self

    def misfits(self, standardise: Standardise | None) -> tuple[Problem, ...]:
        """What cannot hold together in the sections of the method.

        Args:
            standardise: Of the kernels that the priors are fitted to; None: not known yet.
        """
        target, n_train = self.data.target, self.train_size
        if target.validation == "train":
            n_train -= n_validation(n_train, target.validation_share)
        if target.validation == "folds":
            n_train -= math.ceil(n_train / target.n_folds)
        new_head = self.data.source is not None and self.data.source.class_names != target.class_names
        around = Surroundings(self.target.length(max(1, n_train)), standardise, new_head)
        return METHODS[self.method].misfits(method_settings(self), around)

    @model_validator(mode="after")
    def _patches_fit(self) -> ExperimentConfig:
        tasks = (
            ("source", self.data.source, self.source.patch),
            ("target", self.data.target, self.target.patch),
        )
        for task, dataset, patch in tasks:
            shape = dataset.preprocess.shape if dataset is not None else None
            problems = too_large(patch, [shape], f"{task}.patch") if shape is not None else ()
            for one in problems:
                raise ValueError(f"{one.where} = {one.what}; {one.fix} (data.{task}.preprocess.shape)")
        return self

    @model_validator(mode="after")
    def _augmentation_fits(self) -> ExperimentConfig:
        tasks = (
            ("source", self.data.source, self.source.augment),
            ("target", self.data.target, self.target.augment),
        )
        for task, dataset, augment in tasks:
            shape = dataset.preprocess.shape if dataset is not None else None
            if dataset is None or shape is None:
                continue
            orientation = dataset.preprocess.orientation
            for one in impossible_changes(augment, [shape], orientation, f"{task}.augment"):
                raise ValueError(f"{one.where} = {one.what}; {one.fix} (data.{task}.preprocess.shape)")
        return self


def _method_sections() -> dict[str, Any]:
    sections = {name: model for method in METHODS.values() for name, model in method.sections.items()}
    return {name: (model, model()) for name, model in sections.items()}


# A further method brings its sections with its registry line: nothing here names a method.
EXPERIMENT: type[ExperimentConfig] = create_model(
    "Experiment", __base__=ExperimentConfig, **_method_sections()
)


def method_settings(condition: ExperimentConfig) -> dict[str, Any]:
    """The sections that the condition's method reads, by name."""
    return {name: getattr(condition, name) for name in METHODS[condition.method].sections}
