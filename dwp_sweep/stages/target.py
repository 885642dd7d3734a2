"""Target stage: train one network by one transfer method on m images and evaluate it (Algorithms 2 and 3).

Writes ``net.safetensors`` and ``net.json`` (the best validation epoch), ``test_scores.json`` (per
subject), ``split.json`` and figures. Test images take part in nothing but the final scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.splits import Split, target_split
from dwp_sweep.losses.segmentation import LossConfig
from dwp_sweep.methods import METHODS
from dwp_sweep.methods.contract import MethodInputs, Prepared
from dwp_sweep.metrics.overlap import Overlap
from dwp_sweep.nets.net_files import save_net
from dwp_sweep.nets.unet3d import UNetConfig
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.stages.figures import learning_curve, slice_figure
from dwp_sweep.stages.network_training import (
    Cases,
    predict_case,
    read_cases,
    summarise,
    test_scores,
    train_network,
)
from dwp_sweep.strict import StrictModel, parse
from dwp_sweep.training.compute import ComputeConfig, resolve_device
from dwp_sweep.training.device_memory import memory_advice
from dwp_sweep.training.loop import FitResult, TrainConfig
from dwp_sweep.training.seeds import named_seed


class TargetConfig(TrainConfig):
    """Training on the target task, the same for every method.

    Attributes:
        rescale: Bring the scale-invariant filters of a source network to He norm before it starts; its
            function stays the same.
    """

    rescale: bool = False


class TargetStageConfig(StrictModel):
    """All that one target network depends on beside its upstream nodes.

    Attributes:
        settings: The method's own sections, e.g. ``{"dwp": {...}}``.
    """

    method: str
    train_size: int
    split: int
    seed: int
    dataset: DatasetConfig
    unet: UNetConfig = UNetConfig()
    target: TargetConfig = TargetConfig()
    loss: LossConfig = LossConfig()
    settings: dict[str, Any] = Field(default_factory=dict)
    compute: ComputeConfig = ComputeConfig()


def run(
    config: TargetStageConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    """Prepare by the method, train, save, evaluate on the test images."""
    with memory_advice("target.batch_size", config.target.batch_size):
        return _train_and_score(config, inputs, work_dir, out_dir, emit)


def _train_and_score(
    config: TargetStageConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    cases = read_cases(config.dataset, config.compute)
    split = target_split(sorted(cases), config.dataset, config.train_size, config.split)
    prepared = METHODS[config.method].prepare(_method_inputs(config, inputs, len(split.train)))
    result = train_network(
        prepared,
        [cases[name] for name in split.train],
        [cases[name] for name in split.val],
        config.target,
        config.compute,
        named_seed(config.seed, f"split{config.split}"),
        work_dir / "checkpoint.safetensors",
        lambda epoch, metrics: emit("target", epoch, metrics),
    )
    save_net(prepared.net, config.unet, out_dir, {"method": config.method, "best_epoch": result.best_epoch})
    scores = test_scores(prepared.net, [cases[name] for name in split.test], config.compute)
    _write_scores(out_dir, split, scores)
    _draw(config, prepared, result, scores, cases, out_dir)
    counts = {"n_train": float(len(split.train)), "n_val": float(len(split.val))}
    return _metrics(result, scores) | counts


def _method_inputs(config: TargetStageConfig, inputs: Inputs, n_train: int) -> MethodInputs:
    sections = METHODS[config.method].sections
    sources = inputs.get("source", ())
    return MethodInputs(
        unet=config.unet,
        loss=config.loss,
        settings={
            name: parse(model, config.settings[name], "node", name) for name, model in sections.items()
        },
        source=sources[0] / "cycle0" if sources else None,
        priors=inputs.get("priors", ()),
        rescale=config.target.rescale,
        n_train=n_train,
        # Source networks count their seeds from 0 too: a target must not start where one of them did.
        seed=named_seed(config.seed, "target"),
        device=resolve_device(config.compute),
    )


def _write_scores(out_dir: Path, split: Split, scores: Mapping[str, Overlap]) -> None:
    (out_dir / "split.json").write_text(json.dumps(asdict(split), indent=1))
    table = {name: asdict(score) for name, score in scores.items()}
    (out_dir / "test_scores.json").write_text(json.dumps(table, indent=1))


def _draw(
    config: TargetStageConfig,
    prepared: Prepared,
    result: FitResult,
    scores: Mapping[str, Overlap],
    cases: Cases,
    out_dir: Path,
) -> None:
    figures = out_dir / "figures"
    setting = f"{METHODS[config.method].label}, m = {config.train_size}"
    which = f"{setting}, split {config.split}, seed {config.seed}"
    learning_curve(result.history, figures / "learning_curve.png", which, [result.best_epoch])
    # The median case: neither the prettiest nor the worst prediction stands for the method.
    name = sorted(scores, key=lambda case: scores[case].dice)[len(scores) // 2]
    logits, _ = predict_case(prepared.net, cases[name], config.compute)
    predicted = (logits[0].argmax(0) == 1).cpu().numpy()
    title = f"{setting}: {name}, Dice {scores[name].dice:.2f} (median)"
    case = cases[name]
    slice_figure(case.image[0], case.mask, predicted, figures / "median_prediction.png", title)


def _metrics(result: FitResult, scores: Mapping[str, Overlap]) -> dict[str, float]:
    metrics = {f"best_{name}": result.best[name] for name in ("val_loss", "val_dice", "val_iou")}
    metrics |= {"best_epoch": float(result.best_epoch), "n_steps": float(result.n_steps)}
    return metrics | summarise(scores, "test")


stage = Stage(
    name="target",
    version=1,
    config=TargetStageConfig,
    run=run,
    n_steps=lambda config: config.target.max_epochs,
)
