"""Target stage: train one network by one transfer method on m images and evaluate it (Algorithms 2 and 3).

Writes ``net.safetensors`` and ``net.json`` (the best validation epoch), ``test_scores.json`` (overlap,
calibration, uncertainty, distances and lesions per subject), ``val_scores.json`` (overlap per subject, for
searches), both with the patient where patients have names of their own, ``split.json``, ``temperature.json``
(fitted on the validation scans), a slice of one test subject for reports, and figures. Test images take part
in nothing but the final scores.
"""

from __future__ import annotations

import itertools
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import nn

from dwp_sweep.data.augment.augmenter import Augmentation
from dwp_sweep.data.augment.config import Augment
from dwp_sweep.data.cache.cases import VOXEL_SIZE, Case, median_voxel_size
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import list_patients
from dwp_sweep.data.patches import PatchConfig, require_patch_fits
from dwp_sweep.data.splits import Split, target_split, with_all_images
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs
from dwp_sweep.nets.net_files import save_net
from dwp_sweep.nets.unet3d import UNetConfig
from dwp_sweep.stages.augmented_figure import augmented_figure
from dwp_sweep.stages.contract import SCANS_SCORED, Emit, Inputs, Stage
from dwp_sweep.stages.evaluation import (
    Evaluation,
    Prediction,
    predict_volume,
    test_scores,
)
from dwp_sweep.stages.examples import example_case, predicted_example, save_example
from dwp_sweep.stages.figures import learning_curve
from dwp_sweep.stages.network_training import (
    Cases,
    best_scores,
    class_facts,
    now_and_then,
    read_cases,
    train_network,
)
from dwp_sweep.stages.prediction import PostprocessConfig
from dwp_sweep.stages.prediction_figures import calibration_figure, slice_figure, uncertainty_figure
from dwp_sweep.stages.scores import summarise
from dwp_sweep.stages.validation import save_temperature, validate
from dwp_sweep.strict import StrictModel, expert, parse
from dwp_sweep.training.compute import ComputeConfig, memory_advice, named_seed, resolve_device
from dwp_sweep.training.loop import FitResult, TrainConfig


class TargetConfig(TrainConfig):
    """Training on the target task, the same for every method.

    Attributes:
        rescale: Bring the scale-invariant filters of a source network to He norm before it starts; its
            function stays the same.
        lr_by_scale: Lower the rate of each layer that starts smaller than a He start by its share of it.
        n_samples: Weight draws of a variational network at test time; a deterministic one is run once.
        near_voxels: Calibration and uncertainty are averaged over test voxels at most this far from the
            true foreground: voxels beyond are easy, and how many there are is a matter of cropping.
        patch: Train on patches and predict from windows, where volumes do not fit.
        augment: Random changes of the training images, see `AugmentConfig`; none by default.
        postprocess: Clean-up of the final masks; nothing by default.
    """

    rescale: bool = expert(False)
    lr_by_scale: bool = expert(False)
    n_samples: int = Field(8, ge=1)
    near_voxels: float = expert(5.0, ge=0)
    patch: PatchConfig = PatchConfig()
    augment: Augment = None
    postprocess: PostprocessConfig = PostprocessConfig()

    def unread(self) -> frozenset[str]:
        """`augment` where it is off: networks from before there was any keep their keys."""
        return frozenset({"augment"}) if self.augment is None else frozenset()


class SourceChoice(StrictModel):
    """Which source network a target starts from; part of the key, so that every choice is a setting.

    Attributes:
        member: As in `SourceConfig`. The network itself is an input of the node.
    """

    member: Literal["split"] | int = "split"


class TargetStageConfig(StrictModel):
    """All that one target network depends on beside its upstream nodes.

    Attributes:
        source: None where the method starts from no source network.
        settings: The method's own sections, e.g. ``{"dwp": {...}}``.
        repeat: Number of a repetition with everything equal, seed included: changes the key, never a result.
        all_images: Train on all images that do not test, those of validation included.
        fold: Which part of the images validates, where folds do; None: no folds do.
    """

    method: str
    train_size: int
    split: int
    seed: int
    dataset: DatasetConfig
    source: SourceChoice | None = None
    unet: UNetConfig = UNetConfig()
    target: TargetConfig = TargetConfig()
    loss: LossConfig = LossConfig()
    settings: dict[str, Any] = Field(default_factory=dict)
    compute: ComputeConfig = ComputeConfig()
    repeat: int = Field(0, ge=0)
    all_images: bool = False
    fold: int | None = None

    def unread(self) -> frozenset[str]:
        """`fold` where there are none, so that keys are those of before."""
        return frozenset({"fold"}) if self.fold is None else frozenset()

    @property
    def augmentation(self) -> Augmentation:
        """Of the training images."""
        return Augmentation(self.target.augment, self.dataset.preprocess.orientation)


def run(
    config: TargetStageConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    """Prepare by the method, train, save, evaluate on the test images."""
    with memory_advice("target.batch_size", config.target.batch_size):
        return _train_and_score(config, inputs, work_dir, out_dir, emit)


def repetition_seed(seed: int, split: int, fold: int | None = None) -> int:
    """Seed of all that one training draws: start, prior draws, order, patches, weight noise.

    It follows the seed and the split, so that the spread over splits holds the spread over starts. Methods
    and settings of one split share their start and order and are compared in pairs. The training size is
    left out: the training sets of a split are nested, and from one start on a curve over sizes shows what
    the images add.

    Args:
        seed: Of the experiment. Source networks count their seeds from 0 too, and start elsewhere.
        split: Number of the split.
        fold: Of a network that validates on one: the networks of an ensemble start apart.
    """
    return named_seed(seed, f"target/split{split}" + ("" if fold is None else f"/fold{fold}"))


def _train_and_score(
    config: TargetStageConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    cases = read_cases(config.dataset, config.compute, "target", emit)
    require_patch_fits(config.target.patch, list(cases.values()), "target.patch")
    config.augmentation.require_possible(list(cases.values()), "target.augment")
    patients = list_patients(config.dataset)
    split = target_split(patients, config.dataset, config.train_size, config.split, config.fold)
    if config.all_images:
        split = with_all_images(split, patients)
    prepared = METHODS[config.method].prepare(_method_inputs(config, inputs, len(split.train)))
    train, seed = (
        [cases[name] for name in split.train],
        repetition_seed(config.seed, config.split, config.fold),
    )
    figures = out_dir / "figures"
    augmented_figure(train, config.augmentation, config.target.patch, seed, figures, "target task")
    result = train_network(
        prepared,
        train,
        [cases[name] for name in split.val],
        config.target,
        config.compute,
        seed,
        work_dir / "checkpoint.safetensors",
        lambda epoch, metrics: emit("target", epoch, metrics),
        config.target.patch,
        config.augmentation,
        config.dataset.class_names,
    )
    voxel_mm = median_voxel_size(train)
    facts = {"method": config.method, "best_epoch": result.best_epoch, VOXEL_SIZE: list(voxel_mm)}
    facts |= class_facts(config.dataset)
    save_net(prepared.net, config.unet, out_dir, facts)
    tell = now_and_then("target", emit, SCANS_SCORED)
    test = _evaluate(config, prepared.net, cases, split, patients, result, out_dir, tell)
    best = best_scores(result.best)
    training = {"best_epoch": float(result.best_epoch), "n_steps": float(result.n_steps)}
    counts = {f"n_{role}": float(len(scans)) for role, scans in asdict(split).items()}
    return best | training | test | counts


def _method_inputs(config: TargetStageConfig, inputs: Inputs, n_train: int) -> MethodInputs:
    sections = METHODS[config.method].sections
    sources = inputs.get("source", ())
    return MethodInputs(
        unet=config.unet,
        classes=config.dataset.class_names,
        loss=config.loss,
        settings={
            name: parse(model, config.settings[name], "node", name) for name, model in sections.items()
        },
        source=sources[0] / "cycle0" if sources else None,
        priors=inputs.get("priors", ()),
        bank=inputs["bank"][0] if "bank" in inputs else None,
        rescale=config.target.rescale,
        lr=config.target.lr,
        lr_by_scale=config.target.lr_by_scale,
        n_train=n_train,
        seed=repetition_seed(config.seed, config.split, config.fold),
        device=resolve_device(config.compute),
        length=config.target.length(n_train),
    )


def _evaluate(
    config: TargetStageConfig,
    net: nn.Module,
    cases: Cases,
    split: Split,
    patients: Mapping[str, str],
    result: FitResult,
    out_dir: Path,
    tell: Callable[[int, int], None],
) -> dict[str, float]:
    """Score validation and test images, write the scores by subject and the figures; means over subjects."""
    target, seed = config.target, repetition_seed(config.seed, config.split, config.fold)
    n_scored = itertools.count()

    def predict(case: Case) -> Prediction:
        tell(min(next(n_scored), len(split.test)), len(split.test))
        return predict_volume(
            net, case, config.compute, target.n_samples, seed, target.patch, target.postprocess
        )

    classes, val_cases = config.dataset.class_names, [cases[name] for name in split.val]
    val = validate(predict, val_cases, target.near_voxels, config.all_images, classes)
    save_temperature(val.temperature, out_dir)
    test = [cases[name] for name in split.test]
    evaluation = test_scores(predict, test, target.near_voxels, val.temperature, classes)
    named = {name: {"patient": patient} for name, patient in patients.items() if patient != name}
    tables = {
        "split": asdict(split),
        "test_scores": {
            name: scores.as_json() | named.get(name, {}) for name, scores in evaluation.scores.items()
        },
        "val_scores": {name: {**scores, **named.get(name, {})} for name, scores in val.overlaps.items()},
    }
    for name, table in tables.items():
        (out_dir / f"{name}.json").write_text(json.dumps(table, indent=1))
    metrics = summarise(evaluation.scores, "test")
    if val.temperature.is_fitted:
        metrics["temperature"] = val.temperature.value
    _draw(config, evaluation, metrics, cases, predict, result, out_dir)
    return metrics


def _draw(
    config: TargetStageConfig,
    evaluation: Evaluation,
    metrics: Mapping[str, float],
    cases: Cases,
    predict: Callable[[Case], Prediction],
    result: FitResult,
    out_dir: Path,
) -> None:
    figures, scores = out_dir / "figures", evaluation.scores
    setting = f"{METHODS[config.method].label}, m = {config.train_size}"
    network = f"{setting}, split {config.split}, seed {config.seed}"
    learning_curve(result.history, figures / "learning_curve.png", network, [result.best_epoch])
    # The median case: neither the prettiest nor the worst prediction stands for the method.
    name = sorted(scores, key=lambda case: scores[case].dice)[len(scores) // 2]
    case, prediction = cases[name], predict(cases[name])
    title = f"{setting}: {name}, Dice {scores[name].dice:.2f} (median)"
    slice_figure(case.image[0], case.mask, prediction.mask, figures / "median_prediction.png", title)
    information, path = prediction.mutual_information, figures / "uncertainty.png"
    uncertainty_figure(case.image[0], case.mask, prediction.probs, information, path, title)
    pooled = reduce(operator.add, evaluation.reliability.values())
    brier, ece = metrics["test_brier"], metrics["test_ece"]
    calibration_figure(pooled, brier, ece, figures / "calibration.png", network)
    classes = config.dataset.class_names
    case = example_case([cases[name] for name in scores], classes)
    prediction = predict(case)
    is_variational = prediction.mutual_information is not None
    mask = prediction.mask if prediction.draws_mask is None else prediction.draws_mask
    save_example(predicted_example(case, mask, prediction.probs, is_variational, classes), out_dir)


stage = Stage(
    name="target",
    version=9,
    config=TargetStageConfig,
    run=run,
    n_steps=lambda config: config.target.max_epochs,
)
