"""Ensemble stage: the mean of several target networks of one configuration, scored on their test scans.

The networks are those of several splits, seeds, source networks or folds. Writes ``test_scores.json``,
``val_scores.json``, ``split.json`` and ``temperature.json`` as a target does; the networks stay with their
targets. A validation scan is predicted by the mean of those networks that were not trained on it, so that
with folds, where every labelled scan trained all networks but one, it is predicted by that one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from torch import nn

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import list_patients
from dwp_sweep.data.splits import Split, target_split
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.metrics.overlap import overlap_means
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.nets.net_files import load_net
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.stages.ensembling import mean_prediction
from dwp_sweep.stages.evaluation import Prediction, predict_volume, test_scores
from dwp_sweep.stages.network_training import arrange, read_cases
from dwp_sweep.stages.scores import SubjectScores, summarise
from dwp_sweep.stages.target import TargetConfig, repetition_seed
from dwp_sweep.stages.validation import save_temperature, validate
from dwp_sweep.strict import StrictModel, json_of
from dwp_sweep.training.compute import ComputeConfig, resolve_device

_OF_MEMBERS = ("dice", "iou", "nll", "ece", "brier")
"""Scores of which the mean over the single networks stands beside that of the ensemble."""


class MemberConfig(StrictModel):
    """Which repetition one of the networks is.

    Attributes:
        split: Of its target.
        seed: Likewise.
        fold: Likewise; None: it validated on none.
    """

    split: int
    seed: int
    fold: int | None = None


class EnsembleStageConfig(StrictModel):
    """All that an ensemble depends on beside its networks.

    Attributes:
        method: Of all its targets; names them.
        train_size: Likewise.
        members: In the order of the input ``targets``.
        dataset: Of all its targets.
        target: Of all its targets; how test scans are predicted and scored is read.
    """

    method: str
    train_size: int
    members: tuple[MemberConfig, ...]
    dataset: DatasetConfig
    target: TargetConfig = TargetConfig()
    compute: ComputeConfig = ComputeConfig()


class _Networks:
    """The networks of an ensemble, each with its split."""

    def __init__(self, config: EnsembleStageConfig, folders: Sequence[Path], splits: Sequence[Split]) -> None:
        self._config = config
        device = resolve_device(config.compute)
        self._nets: list[nn.Module] = [load_net(folder).to(device) for folder in folders]
        for net in self._nets:
            arrange(net, config.compute)
        self._trained_on = [frozenset(split.train) for split in splits]

    def predict(self, case: Case) -> Prediction:
        """The mean of the networks that were not trained on a scan: of a test scan that is all of them."""
        target, config = self._config.target, self._config
        each = (
            predict_volume(
                self._nets[place], case, config.compute, target.n_samples,
                _seed(config.members[place]), target.patch, target.postprocess,
            )
            for place in self._strangers(case)
        )  # fmt: skip
        prediction = mean_prediction(each, target.postprocess, case.spacing_mm)
        # What an ensemble predicts is the mean over all draws, also where one network is left of it.
        of_draws = prediction.draws_mask
        return prediction if of_draws is None else replace(prediction, mask=of_draws, draws_mask=None)

    def n_fewest(self, cases: Sequence[Case]) -> int:
        """How few networks predict one of some scans."""
        return min(len(self._strangers(case)) for case in cases)

    def _strangers(self, case: Case) -> list[int]:
        return [place for place, trained_on in enumerate(self._trained_on) if case.id not in trained_on]


def run(
    config: EnsembleStageConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    """Predict with all networks, score the mean."""
    cases = read_cases(config.dataset, config.compute, "ensemble", emit)
    patients, folders = list_patients(config.dataset), inputs["targets"]
    splits = [
        target_split(patients, config.dataset, config.train_size, member.split, member.fold)
        for member in config.members
    ]
    networks = _Networks(config, folders, splits)
    val = _validation_scans(splits, len(folders))
    near_voxels, classes = config.target.near_voxels, config.dataset.class_names
    val_cases = [cases[name] for name in val]
    validation = validate(networks.predict, val_cases, near_voxels, classes=classes)
    n_fewest = networks.n_fewest(val_cases)
    temperature = _with_note(validation.temperature, n_fewest, len(folders))
    save_temperature(temperature, out_dir)
    common = _common_test(splits, config)
    test = [cases[name] for name in common]
    evaluation = test_scores(networks.predict, test, near_voxels, temperature, classes)
    train = tuple(dict.fromkeys(name for split in splits for name in split.train))
    named = {name: {"patient": patient} for name, patient in patients.items() if patient != name}
    tables = {
        "split": asdict(Split(train, val, common)),
        "test_scores": {name: one.as_json() | named.get(name, {}) for name, one in evaluation.scores.items()},
        "val_scores": {name: {**one, **named.get(name, {})} for name, one in validation.overlaps.items()},
    }
    for name, table in tables.items():
        (out_dir / f"{name}.json").write_text(json.dumps(table, indent=1))
    counts = {"n_members": len(folders), "n_train": len(train), "n_val": len(val), "n_test": len(common)}
    return {
        **{f"best_{name}": value for name, value in overlap_means(validation.overlaps.values()).items()},
        **summarise(evaluation.scores, "test"),
        **({"temperature": temperature.value} if temperature.is_fitted else {}),
        **_of_members(folders, evaluation.scores),
        **{name: float(n) for name, n in counts.items()},
    }


def _seed(member: MemberConfig) -> int:
    """Of the draws that the network's own test scores are of."""
    return repetition_seed(member.seed, member.split, member.fold)


def _validation_scans(splits: Sequence[Split], n_networks: int) -> tuple[str, ...]:
    """Validation scans of any of the networks that at least one of them was not trained on."""
    val = dict.fromkeys(name for split in splits for name in split.val)
    return tuple(name for name in val if sum(name in split.train for split in splits) < n_networks)


def _common_test(splits: Sequence[Split], config: EnsembleStageConfig) -> tuple[str, ...]:
    """The test scans, which all networks share and none was trained on.

    Raises:
        InputError: The networks were tested on different scans, as splits of a user's own file may be.
    """
    sets = {frozenset(split.test) for split in splits}
    if len(sets) > 1:
        numbers = ", ".join(str(member.split) for member in config.members)
        what = f"splits {numbers} test different scans, and some train on what others test"
        fix = (
            "set data.target.splits: independent, give all splits of the file one test set, or average seeds"
        )
        raise InputError(Problem("ensemble: split", what, fix))
    return splits[0].test


def _with_note(temperature: Temperature, n_fewest: int, n_networks: int) -> Temperature:
    if not temperature.is_fitted or n_fewest == n_networks:
        return temperature
    few = "1 network" if n_fewest == 1 else f"{n_fewest} networks"
    note = (
        f"every validation scan was seen by some of the {n_networks} networks, so it is that of {few}, and a "
        "little high for the mean of all"
    )
    return replace(temperature, note="; ".join(filter(None, (temperature.note, note))))


def _of_members(folders: Sequence[Path], scores: Mapping[str, SubjectScores]) -> dict[str, float]:
    """Means over the single networks of their own scores of the same test scans."""
    tables = [json_of((folder / "test_scores.json").read_text()) for folder in folders]
    return {
        f"members_test_{name}": float(np.mean([table[scan][name] for table in tables for scan in scores]))
        for name in _OF_MEMBERS
    }


stage = Stage(name="ensemble", version=1, config=EnsembleStageConfig, run=run, n_steps=lambda config: 1)
