"""Source stage: one seed's source networks, one a cycle of the learning rate (Section 2.7.1).

The first cycle trains from He initialisation; each further one continues with the rate raised again to
its start, to a new minimum. Writes ``cycle<i>/net.safetensors`` and ``net.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from dwp_sweep.data.augment.augmenter import Augmentation
from dwp_sweep.data.augment.config import SourceAugment
from dwp_sweep.data.cache.cases import VOXEL_SIZE, Case, median_voxel_size
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import list_patients
from dwp_sweep.data.patches import PatchConfig, require_patch_fits
from dwp_sweep.data.splits import source_split
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs
from dwp_sweep.nets.net_files import load_net, save_net
from dwp_sweep.nets.unet3d import UNetConfig
from dwp_sweep.stages.augmented_figure import augmented_figure
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.stages.examples import example_case, save_example, scan_example
from dwp_sweep.stages.figures import learning_curve
from dwp_sweep.stages.imported import Imported, copy_imported
from dwp_sweep.stages.network_training import best_scores, class_facts, read_cases, train_network
from dwp_sweep.strict import StrictModel, unkeyed
from dwp_sweep.training.compute import ComputeConfig, memory_advice, named_seed, resolve_device
from dwp_sweep.training.loop import FitResult, TrainConfig

NET_FILES = ("net.safetensors", "net.json")


class SourceConfig(TrainConfig):
    """Training of the source networks.

    Attributes:
        n_seeds: Networks trained from different starts.
        n_cycles: Minima visited from each start; the bank holds n_seeds * n_cycles networks.
        weight_decay: L2 term. The paper names none; without it kernels stay near their random start,
            3e-3 with patience gives them clear structure at no cost in Dice.
        network: Folder (``net.safetensors`` and ``net.json``) or ``runs:/<run id>`` of a network to use
            instead of training any.
        patch: Train on patches, where volumes do not fit.
        augment: Random changes of the training images, see `AugmentConfig`; none by default.
        loss: Of the source networks; None: the sweep's. Give it where the loss of the targets is searched
            for: every other loss of the sweep would ask for source networks and priors of its own.
        member: Which source seed the target networks start from: the number of the split, modulo
            ``n_seeds`` (``split``), so that scores over splits vary with the source network too; or one
            seed for all splits. It is the network of the first cycle: later cycles continue it.
    """

    n_seeds: int = unkeyed(10, ge=1, le=1_000)
    n_cycles: int = Field(2, ge=1, le=1_000)
    weight_decay: float = Field(3e-3, ge=0)
    network: str | None = unkeyed(None)
    patch: PatchConfig = PatchConfig()
    augment: SourceAugment = None
    loss: LossConfig | None = None
    member: Literal["split"] | int = unkeyed("split")

    @field_validator("member", mode="before")
    @classmethod
    def _split_or_number(cls, value: object) -> object:
        is_seed = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if value != "split" and not is_seed:
            raise ValueError("must be split or the number of a source seed, from 0")
        return value

    @model_validator(mode="after")
    def _member_is_trained(self) -> SourceConfig:
        if self.member != "split" and self.member >= self.n_networks:
            raise ValueError(
                f"member {self.member} is not trained: there is a source network for each seed from 0 to "
                f"{self.n_networks - 1}"
            )
        return self

    def unread(self) -> frozenset[str]:
        """`augment` where it is off: networks from before there was any keep their keys."""
        return frozenset({"augment"}) if self.augment is None else frozenset()

    @property
    def n_networks(self) -> int:
        """Source networks from different starts; an imported one is alone."""
        return 1 if self.network is not None else self.n_seeds

    def seed_of(self, split: int) -> int:
        """The source seed that the targets of a split start from."""
        return split % self.n_networks if self.member == "split" else self.member


class SourceStageConfig(StrictModel):
    """All that one seed's source networks depend on; only ``brought`` where a network is imported."""

    brought: Imported | None = None
    dataset: DatasetConfig | None = None
    unet: UNetConfig = UNetConfig()
    source: SourceConfig = SourceConfig()
    loss: LossConfig = LossConfig()
    seed: int = 0
    compute: ComputeConfig = ComputeConfig()

    @property
    def augmentation(self) -> Augmentation:
        """Of the training images."""
        assert self.dataset is not None, "a source stage trains or is imported"
        return Augmentation(self.source.augment, self.dataset.preprocess.orientation)


def run(
    config: SourceStageConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    """Train ``n_cycles`` networks one after another, each from the one before."""
    if config.brought is not None:
        copy_imported(config.brought, NET_FILES, out_dir / "cycle0")
        load_net(out_dir / "cycle0")
        return {}
    with memory_advice("source.batch_size", config.source.batch_size):
        return _train(config, work_dir, out_dir, emit)


def _train(config: SourceStageConfig, work_dir: Path, out_dir: Path, emit: Emit) -> Mapping[str, float]:
    assert config.dataset is not None, "a source stage trains or is imported"
    cases = read_cases(config.dataset, config.compute, "source", emit)
    require_patch_fits(config.source.patch, list(cases.values()), "source.patch")
    config.augmentation.require_possible(list(cases.values()), "source.augment")
    split = source_split(list_patients(config.dataset), config.dataset)
    train, val = [cases[name] for name in split.train], [cases[name] for name in split.val]
    first_seed, patch = named_seed(config.seed, "cycle0"), config.source.patch
    augmented_figure(train, config.augmentation, patch, first_seed, out_dir / "figures", "source task")
    results: list[FitResult] = []
    for cycle in range(config.source.n_cycles):
        results.append(_train_cycle(config, cycle, train, val, results, work_dir, out_dir, emit))
    _draw(config, results, out_dir / "figures")
    classes = config.dataset.class_names
    save_example(scan_example(example_case(val, classes), classes), out_dir)
    best = max(results, key=lambda result: result.best["val_dice"])
    return {
        **best_scores(best.best),
        **{f"best_val_dice_cycle{cycle}": result.best["val_dice"] for cycle, result in enumerate(results)},
        "n_steps": float(sum(result.n_steps for result in results)),
    }


def _train_cycle(
    config: SourceStageConfig,
    cycle: int,
    train: Sequence[Case],
    val: Sequence[Case],
    before: list[FitResult],
    work_dir: Path,
    out_dir: Path,
    emit: Emit,
) -> FitResult:
    assert config.dataset is not None, "a source stage trains or is imported"
    device = resolve_device(config.compute)
    inputs = MethodInputs(
        config.unet, config.loss, {}, len(train), config.seed, device, config.source.length(len(train))
    )
    prepared = METHODS["random_init"].prepare(inputs)
    if cycle:
        prepared.net.load_state_dict(load_net(out_dir / f"cycle{cycle - 1}").state_dict())
    n_before = sum(len(result.history) for result in before)
    result = train_network(
        prepared,
        train,
        val,
        config.source,
        config.compute,
        named_seed(config.seed, f"cycle{cycle}"),
        work_dir / f"cycle{cycle}.safetensors",
        lambda epoch, metrics: emit("source", n_before + epoch, {**metrics, "cycle": float(cycle)}),
        config.source.patch,
        config.augmentation,
        config.dataset.class_names,
    )
    facts = {"seed": config.seed, "cycle": cycle, VOXEL_SIZE: list(median_voxel_size(train))}
    facts |= class_facts(config.dataset)
    save_net(prepared.net, config.unet, out_dir / f"cycle{cycle}", facts)
    return result


def _draw(config: SourceStageConfig, results: list[FitResult], figures: Path) -> None:
    history: list[dict[str, float]] = []
    chosen = []
    for cycle, result in enumerate(results):
        chosen.append(len(history) + result.best_epoch)
        history += [{**metrics, "cycle": float(cycle)} for metrics in result.history]
    title = f"Source networks, seed {config.seed}"
    learning_curve(history, figures / "learning_curve.png", title, chosen)


stage = Stage(
    name="source",
    version=4,
    config=SourceStageConfig,
    run=run,
    n_steps=lambda config: config.source.n_cycles * config.source.max_epochs,
)
