"""Validation in folds: every labelled scan validates one network and trains the others."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.splits import enough_problems, overlap_warnings, target_split
from dwp_sweep.errors import InputError
from dwp_sweep.report.answers.paper_table import paper_table
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.strict import keyed_values
from dwp_sweep.tracking.read.configuration import groups_of, pairs_of
from dwp_sweep.tracking.read.reader import results_of_store
from dwp_sweep.tracking.read.rows import rows_of_store
from tests.stages.test_pipeline import SPACE, build

PATIENTS = {f"s{n:02d}": f"p{n // 2}" for n in range(24)}
ALONE = {name: name for name in PATIENTS}
FOLDS: dict[str, Any] = {
    **SPACE,
    "data": {"target": {**SPACE["data"]["target"], "validation": "folds", "n_folds": 2}},
    "fixed": {"unet.channels": [2, 4, 4, 4], "target.max_epochs": 2, "train_size": 3},
    "grid": {"method": ["random_init"]},
}


def dataset(**changes: Any) -> DatasetConfig:
    values = {"layout": "msd", "root": "/gone", "n_test": 6, "validation": "folds", "n_folds": 3}
    return DatasetConfig.model_validate(values | changes)


@pytest.mark.parametrize("splits", ["resampled", "independent"])
@pytest.mark.parametrize("patients", [ALONE, PATIENTS])
def test_each_of_the_m_scans_validates_once_and_trains_all_other_networks(
    patients: dict[str, str], splits: str
) -> None:
    config = dataset(splits=splits, n_splits=2)
    for number in (0, 1):
        folds = [target_split(patients, config, 7, number, fold) for fold in range(3)]
        validated = [name for split in folds for name in split.val]
        assert len(validated) == len(set(validated)) == 7
        for split in folds:
            assert set(split.train) | set(split.val) == set(validated) and split.val
            assert not set(split.test) & set(validated) and split.test == folds[0].test
            roles = [{patients[name] for name in role} for role in (split.train, split.val, split.test)]
            assert not roles[0] & roles[1] and not roles[2] & (roles[0] | roles[1])


def test_no_scan_is_held_out_for_validation() -> None:
    assert not enough_problems(ALONE, dataset(n_val=0), (18,)), "24 scans less 6 to test are all for training"
    assert "fewer than test 6" in str(enough_problems(ALONE, dataset(), (19,))[0])


def test_fewer_scans_or_patients_than_folds_are_refused() -> None:
    (few,) = enough_problems(ALONE, dataset(), (2, 6))
    assert "train_size 2 is too small" in few.what and "lower n_folds" in few.fix
    one = dict.fromkeys(list(ALONE)[:12], "a") | dict.fromkeys(list(ALONE)[12:], "b")
    assert any(
        "too few for 3 folds" in problem.what for problem in enough_problems(one, dataset(n_test=1), (3,))
    )


def test_resampled_splits_say_that_scans_validate_which_others_test() -> None:
    (warned,) = overlap_warnings(ALONE, dataset(), (6,), (0, 1, 2))
    assert "validation scans are of patients whom other splits test" in warned.what
    assert not overlap_warnings(ALONE, dataset(splits="independent"), (6,), (0, 1, 2))


def test_the_number_of_folds_is_in_a_key_only_where_there_are_any() -> None:
    assert "n_folds" in keyed_values(dataset()) and "n_folds" not in keyed_values(dataset(validation="train"))


def sweep_of(tmp_path: Path, *changes: str) -> Sweep:
    return build_sweep(load_space(FOLDS, changes), tmp_path)


def test_every_fold_is_a_target_and_their_mean_an_ensemble(tmp_path: Path) -> None:
    nodes = [sweep.nodes[key] for sweep in [sweep_of(tmp_path)] for key in sweep.targets]
    assert [node.title for node in nodes] == [
        "target random_init m=3 split 0 seed 0 fold 0",
        "target random_init m=3 split 0 seed 0 fold 1",
        "ensemble random_init m=3 split 0 seed 0 over fold",
    ]
    assert nodes[2].parents == tuple(("target", node.key) for node in nodes[:2])
    plain = sweep_of(tmp_path, "data.target.validation=held_out")
    assert "fold" not in plain.nodes[plain.targets[0]].labels and len(plain.targets) == 1


def test_one_fold_alone_is_trained_if_asked_for_and_said_to_be_no_ensemble(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "fold=1")
    assert [sweep.nodes[key].labels.get("fold") for key in sweep.targets] == [1, None]
    assert "the ensemble is of one network" in sweep.warnings[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("fold=2",), "fold is 2, and folds are 0 to 1"),
        (("fold=0", "data.target.validation=train"), "fold is 0, and data.target.validation is train"),
        (("search.target.lr={float: [1e-4, 1e-2]}",), "data.target.validation is folds, and a search"),
    ],
)
def test_folds_that_cannot_be_are_refused(changes: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as refused:
        load_space(FOLDS, changes)
    assert message in str(refused.value)


@pytest.mark.slow
def test_folds_are_trained_validated_and_scored_together(tmp_path: Path) -> None:
    store, sweep = LocalStore(tmp_path), sweep_of(tmp_path)
    for node in sweep.nodes.values():
        build(node, store)
    records = [store.record(sweep.nodes[key].stage, key) for key in sweep.targets]
    first, second, together = (dict(record.metrics) for record in records if record is not None)
    of_folds = [first["best_val_dice"]] * int(first["n_val"]) + [second["best_val_dice"]] * int(
        second["n_val"]
    )
    assert together["best_val_dice"] == pytest.approx(statistics.fmean(of_folds), abs=1e-6)
    assert together["n_val"] == together["n_train"] == 3 and together["n_members"] == 2
    assert together["test_nll"] <= (first["test_nll"] + second["test_nll"]) / 2 + 1e-6
    nodes = list(sweep.nodes.values())
    cell = paper_table(results_of_store(nodes, store)).cells["test_dice"][3]["random_init"]
    assert cell.summary is not None and cell.summary.n == 1
    assert cell.summary.mean == pytest.approx(together["test_dice"])
    (group,) = groups_of(pairs_of(rows_of_store(nodes, store)))
    assert len(group) == 2, "both networks are of one configuration, which predict --ensemble takes together"
