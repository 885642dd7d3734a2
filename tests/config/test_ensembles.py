from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.errors import InputError

SPACE: dict[str, Any] = {
    "name": "means",
    "data": {
        "target": {
            "layout": "phantom",
            "phantom": {"kind": "target", "n_subjects": 12, "shape": [16, 16, 16]},
            "splits": "independent",
            "n_splits": 2,
            "n_val": 1,
            "n_test": 2,
        }
    },
    "fixed": {"unet.channels": [2, 2, 2, 2]},
    "grid": {"method": ["random_init", "noise_only"], "split": [0, 1], "seed": [0, 1, 2], "train_size": [2]},
    "ensemble": "seed",
}


def sweep_of(tmp_path: Path, *changes: str) -> Sweep:
    return build_sweep(load_space(SPACE, changes), tmp_path)


def ensembles(sweep: Sweep) -> list[Any]:
    return [sweep.nodes[key] for key in sweep.targets if sweep.nodes[key].stage == "ensemble"]


def test_networks_that_differ_in_the_axis_alone_are_one_ensemble(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    found = ensembles(sweep)
    assert len(sweep.targets) == 12 + 4 and len(found) == 4 and sweep.targets[-1] == found[-1].key
    for node in found:
        members = [sweep.nodes[key] for _, key in node.inputs["targets"]]
        assert [member.labels["seed"] for member in members] == [0, 1, 2]
        assert {(member.labels["method"], member.labels["split"]) for member in members} == {
            (node.labels["method"], node.labels["split"])
        }
        assert node.labels["over"] == "seed" and "seed" not in node.labels
        expected = [{"split": node.labels["split"], "seed": n, "fold": None} for n in range(3)]
        assert list(node.config["members"]) == expected
    assert found[0].title == "ensemble random_init m=2 split 0 over seed"
    assert not [text for text in sweep.warnings if "ensemble" in text]


def test_several_axes_are_averaged_over_together_and_without_any_there_is_no_ensemble(tmp_path: Path) -> None:
    found = ensembles(sweep_of(tmp_path, "ensemble=[split, seed]"))
    assert [len(node.inputs["targets"]) for node in found] == [6, 6]
    plain = sweep_of(tmp_path, "ensemble=[]")
    assert not ensembles(plain)
    assert set(plain.targets) < set(sweep_of(tmp_path).targets), "the targets' keys stay the same"


def test_an_ensemble_of_one_is_said_in_words(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "seed=0")
    assert [len(node.inputs["targets"]) for node in ensembles(sweep)] == [1] * 4
    assert "4 of 4 ensembles are of one network, and scores what that network does" in sweep.warnings[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("ensemble=folds",), "'folds' repeats no configuration; axes are split, seed, source.member"),
        (("ensemble=3",), "should be an axis or a list of axes"),
        (
            ("ensemble=split", "data.target.splits=resampled"),
            "ensemble: split: each resampled split tests other scans",
        ),
        (("search.target.lr={float: [1e-4, 1e-2]}",), "ensemble is given, and a search scores no ensembles"),
    ],
)
def test_ensembles_that_cannot_be_are_refused(changes: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=r".*") as refused:
        load_space(SPACE, changes)
    assert message in str(refused.value)
