"""Labels of the masks against settings: one foreground, or classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from dwp_sweep.data.check.check import check_dataset
from dwp_sweep.data.config import DatasetConfig

N = 4


@pytest.fixture
def root(tmp_path: Path, write_msd: Any) -> Path:
    return Path(write_msd(tmp_path / "set", N))


def config(root: Path, **values: Any) -> DatasetConfig:
    return DatasetConfig(layout="msd", root=str(root), **values)


def relabel(root: Path, place: int, change: dict[int, int]) -> None:
    """Give one subject's mask other labels."""
    path = sorted((root / "labelsTr").iterdir())[place]
    image = nib.load(path)
    voxels = np.asanyarray(image.dataobj).copy()
    for old, new in change.items():
        voxels[voxels == old] = new
    nib.save(nib.Nifti1Image(voxels, image.affine), path)


def allow(root: Path, labels: dict[str, str]) -> None:
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": labels}))


def test_several_labels_that_nobody_chose_are_a_warning_that_says_what_to_write(root: Path) -> None:
    allow(root, {"0": "background", "1": "Anterior", "2": "Posterior"})
    report = check_dataset(config(root))
    (warning,) = report.warnings
    assert report.problems == () and warning.where == str(root)
    assert warning.what == (
        "the masks hold the labels 1 (Anterior), 2 (Posterior), and all of them count as one foreground"
    )
    for way in ("labels: [1, 2] if", "labels: [1] for", "classes: {Anterior: [1], Posterior: [2]} to"):
        assert way in warning.fix


@pytest.mark.parametrize("values", [{"labels": (1, 2)}, {"labels": (1,)}, {"classes": {"a": [1], "b": [2]}}])
def test_who_chose_is_not_warned(root: Path, values: dict[str, Any]) -> None:
    report = check_dataset(config(root, **values))
    assert (report.problems, report.warnings) == ((), ())


def test_one_label_needs_no_choice(root: Path) -> None:
    for place in range(N):
        relabel(root, place, {2: 1})
    assert check_dataset(config(root)).warnings == ()


def test_a_label_that_no_class_names_is_one_problem_for_all_masks(root: Path) -> None:
    allow(root, {"0": "background", "1": "Anterior", "2": "Posterior", "3": "Cyst"})
    for place in (1, 2):
        relabel(root, place, {2: 3})
    (problem,) = check_dataset(config(root, classes={"a": [1], "b": [2]})).problems
    assert "label 3 (Cyst) is in 2 masks, first" in problem.what and "in no class" in problem.what
    assert "background: [3]" in problem.fix
    report = check_dataset(config(root, classes={"a": [1], "b": [2], "background": [3]}))
    assert report.problems == ()
    (warning,) = report.warnings
    assert warning.what == f"class b is absent in 2 of {N} masks"


def test_a_class_that_no_mask_has_and_a_label_that_the_set_does_not_know_are_problems(root: Path) -> None:
    allow(root, {"0": "background", "1": "Anterior", "2": "Posterior", "3": "Cyst", "4": "Scar"})
    what = [one.what for one in check_dataset(config(root, classes={"a": [1, 2], "b": [3, 4]})).problems]
    assert what == ["class b: no mask holds any of its labels (3, 4)"]
    unknown = check_dataset(config(root, classes={"a": [1, 2], "b": [9]})).problems
    assert any("classes: 9 is not in the data set's values" in one.what for one in unknown)
    assert any("1 Anterior, 2 Posterior" in one.what for one in unknown)


def test_a_class_that_preparing_removes_is_something_to_look_at(root: Path) -> None:
    settings = {"shape": (2, 12, 8), "crop_foreground": False}
    report = check_dataset(config(root, classes={"a": [1], "b": [2]}, preprocess=settings))
    assert all("b is gone" in row.suspicions for row in report.subjects)


def test_what_is_remembered_of_a_scan_follows_its_classes(root: Path, tmp_path: Path) -> None:
    allow(root, {"0": "background", "1": "a", "2": "b", "3": "c"})
    for place in range(N):
        relabel(root, place, {2: 3})
    relabel(root, 0, {1: 2})
    settings = ({"a": [1], "b": [2], "c": [3]}, {"a": [1], "b": [2], "background": [3]})
    with_c, without_c = (
        check_dataset(config(root, classes=classes), cache_dir=tmp_path / "cache") for classes in settings
    )
    assert with_c.problems == without_c.problems == ()
    for more, less in zip(with_c.subjects, without_c.subjects, strict=True):
        assert more.foreground_share > less.foreground_share > 0
