"""What the harness must know of each stage: how much work a node is, what it asks for, which paths it reads.

Beside the stages and not in their files, because those import torch: a plan, a status and an estimate ask
here and load no stage. Takes configs as plain values, as nodes and records keep them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OBJECTIVE_STAGE = "target"
"""The stage whose networks a search compares; the only one whose nodes a search ever gives up."""
_FORWARD = 1 / 3
"""A forward pass without a backward pass, of a whole training step."""

_DATA_PATHS = ("root", "split_file")


@dataclass(frozen=True)
class TrainingSteps:
    """What a node that trains U-Nets does, counted in training steps.

    Attributes:
        most: If it trains to its last epoch; validation and test are counted as parts of steps.
        fewest: If no epoch is better than the first, so that the rate falls at every chance.
        voxels: Of all volumes of a batch.
        channels: Of the network.
        precision: ``fp32`` or ``bf16``.
        has_priors: Whether each step takes the bound over kernels as well.
    """

    most: float
    fewest: float
    voxels: int
    channels: tuple[int, int, int, int]
    precision: str
    has_priors: bool


def no_steps(config: Mapping[str, Any], roles: Collection[str]) -> TrainingSteps | None:
    """Of a stage that trains no U-Net."""
    return None


@dataclass(frozen=True)
class Workload:
    """A stage as a scheduler sees it.

    Attributes:
        size_fields: Last parts of the settings that decide how much work a node is.
        guessed_s: Seconds of a node before anything is measured; only the ratios of the stages matter.
        gpu: Share of a GPU where the cluster has any and the sweep does not say.
        data_key: Key of the search space of the data set that it reads; empty: none.
        import_key: Key of the search space that names a finished output to use instead; empty: none.
        steps: From a config and the roles of a node's inputs: the training steps; None: not known.
    """

    size_fields: frozenset[str] = frozenset()
    guessed_s: float = 10.0
    gpu: float = 0.0
    data_key: str = ""
    import_key: str = ""
    steps: Callable[[Mapping[str, Any], Collection[str]], TrainingSteps | None] = no_steps

    @property
    def path_keys(self) -> tuple[str, ...]:
        """Keys of the search space that hold paths which nodes of this stage read."""
        data = tuple(f"{self.data_key}.{name}" for name in _DATA_PATHS) if self.data_key else ()
        return data + ((self.import_key,) if self.import_key else ())

    def paths(self, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The paths that a node with this config reads, each with the key that named it; "" for an import."""
        dataset, imported = config.get("dataset"), config.get("brought")
        if self.data_key and isinstance(dataset, Mapping):
            for name in _DATA_PATHS:
                if dataset.get(name):
                    yield str(dataset[name]), f"{self.data_key}.{name}"
        if isinstance(imported, Mapping) and imported.get("path"):
            yield str(imported["path"]), ""


def workload_of(stage: str) -> Workload:
    """What a stage declares; the defaults for a stage that this package does not have."""
    return WORKLOADS.get(stage, Workload())


def _source_steps(config: Mapping[str, Any], roles: Collection[str]) -> TrainingSteps | None:
    if config.get("brought"):
        return None  # an imported network is copied, not trained
    try:
        return _unet_steps(config, config["source"], config["source"]["n_cycles"], 0.0, roles)
    except (KeyError, TypeError, ValueError):
        return None


def _target_steps(config: Mapping[str, Any], roles: Collection[str]) -> TrainingSteps | None:
    try:
        training = config["target"]
        has_noise = any("noise" in section for section in config.get("settings", {}).values())
        n_samples: int = training["n_samples"] if has_noise else 1
        n_test = int(config["dataset"]["n_test"])
        test = _FORWARD * n_samples * n_test / int(training["batch_size"])
        return _unet_steps(config, training, 1, test, roles)
    except (KeyError, TypeError, ValueError):
        return None


def _unet_steps(
    config: Mapping[str, Any],
    training: Mapping[str, Any],
    n_cycles: int,
    test: float,
    roles: Collection[str],
) -> TrainingSteps:
    epoch = n_cycles * _steps_of_epoch(config, training)
    n_most: int = training["max_epochs"]
    n_falls = math.ceil(math.log(training["stop_lr"] / training["lr"]) / math.log(training["factor"]) - 1e-9)
    n_fewest = min(n_most, 1 + max(n_falls, 1) * (int(training["patience"]) + 1))
    return TrainingSteps(
        most=n_most * epoch + test,
        fewest=n_fewest * epoch + test,
        voxels=training["batch_size"] * _voxels(config["dataset"], training),
        channels=tuple(config["unet"]["channels"]),
        precision=config["compute"]["precision"],
        has_priors="priors" in roles,
    )


def _steps_of_epoch(config: Mapping[str, Any], training: Mapping[str, Any]) -> float:
    dataset, batch = config["dataset"], int(training["batch_size"])
    n_train = config.get("train_size") or dataset.get("n_subjects") or 0
    steps: int = training.get("steps_per_epoch") or math.ceil(n_train / batch)
    if not steps:
        raise ValueError("how many scans there are is not said")
    return steps + _FORWARD * math.ceil(int(dataset["n_val"]) / batch)


def _voxels(dataset: Mapping[str, Any], training: Mapping[str, Any]) -> int:
    shape = (training.get("patch") or {}).get("shape") or dataset["preprocess"].get("shape")
    if shape is None and dataset["layout"] == "phantom":
        shape = dataset["phantom"]["shape"]
    if shape is None:
        raise ValueError("volumes are as large as they come")
    return math.prod(shape)


_FIT = frozenset({"max_epochs", "steps_per_epoch", "batch_size", "patience", "precision"})
_UNET = _FIT | {"subjects", "n_subjects", "shape", "channels"}

WORKLOADS: dict[str, Workload] = {
    "source": Workload(
        size_fields=_UNET | {"n_seeds", "n_cycles"},
        guessed_s=60.0,
        gpu=1.0,
        data_key="data.source",
        import_key="source.network",
        steps=_source_steps,
    ),
    "harvest": Workload(guessed_s=2.0, import_key="harvest.bank"),
    "prior": Workload(
        size_fields=_FIT | {"group", "latent_dim", "n_components"},
        guessed_s=15.0,
        gpu=0.25,
        import_key="prior.path",
    ),
    "target": Workload(
        size_fields=_UNET | {"method", "train_size", "n_samples"},
        guessed_s=20.0,
        gpu=1.0,
        data_key="data.target",
        steps=_target_steps,
    ),
    "ensemble": Workload(
        size_fields=_FIT | {"subjects", "n_subjects", "shape", "n_samples", "n_test"},
        guessed_s=5.0,
        gpu=1.0,
        data_key="data.target",
    ),
}
"""By name of the stage."""
