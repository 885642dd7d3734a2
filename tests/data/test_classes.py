"""Classes of a data set: what a user may write, and the numbers that networks and scores see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwp_sweep.data.cache.cases import Case, entry_folder, publish_entry, read_entry
from dwp_sweep.data.classes import head_warning, labelled, numbered, suggested
from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.files.volumes import Volume
from dwp_sweep.data.pair import Pair
from dwp_sweep.data.patches import PatchConfig, PatchSampler
from dwp_sweep.data.preprocess import Prepared
from dwp_sweep.data.preprocess import preprocess as preprocess_pair
from dwp_sweep.errors import InputError
from dwp_sweep.strict import keyed_values, parse

GOOD = {"oedema": [2], "core": [4, 1]}
NO_CROP = PreprocessConfig(crop_foreground=False)


def read(classes: Any, **more: Any) -> DatasetConfig:
    return parse(DatasetConfig, {"layout": "msd", "classes": classes, **more}, "space.yaml", "data.target")


def test_classes_are_numbered_by_name_however_the_file_lists_them() -> None:
    config, other = read(GOOD), read({"core": [1, 4], "oedema": [2]})
    assert config == other and hash(config) == hash(other) and keyed_values(config) == keyed_values(other)
    assert config.class_names == ("core", "oedema") and config.n_outputs == 3
    assert config.foreground == (1, 2, 4)
    labels = np.arange(6, dtype=np.int32).reshape(1, 2, 3)
    assert config.classes is not None
    assert numbered(labels, config.classes).ravel().tolist() == [0, 1, 2, 0, 1, 0]


def test_a_config_with_classes_survives_its_plain_values() -> None:
    config = read({**GOOD, "background": [3, 0]})
    plain = config.model_dump(mode="json")
    assert plain["classes"] == {"background": [0, 3], "core": [1, 4], "oedema": [2]}
    assert parse(DatasetConfig, plain, "record") == config
    assert config.class_names == ("core", "oedema")


def test_without_classes_nothing_of_them_is_in_a_key() -> None:
    assert "classes" not in keyed_values(DatasetConfig(layout="msd"))
    assert "classes" in keyed_values(read(GOOD))


def test_cache_entries_follow_the_numbers_and_not_the_names(tmp_path: Path) -> None:
    folders = {
        name: entry_folder(config, ["a", "b"], tmp_path)
        for name, config in {
            "classes": read(GOOD),
            "renamed": read({"active": [1, 4], "swelling": [2]}),
            "swapped": read({"a": [2], "b": [1, 4]}),
            "labels": DatasetConfig(layout="msd", labels=(1, 2, 4)),
        }.items()
    }
    assert folders["classes"] == folders["renamed"]
    assert len(set(folders.values())) == 3


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({"a": [1, 2], "b": [2]}, "label 2 is in a and in b"),
        ({"a": [1], "b": []}, "class b has no labels"),
        ({"a": [1]}, "one class (a)"),
        ({}, "no class"),
        ({"background": [3], "a": [1]}, "one class (a)"),
        ({"a": [0], "b": [1]}, "class a: 0 is the background"),
        ({"a": [-1], "b": [1]}, "-1 is no label"),
        ({"a": [2**31], "b": [1]}, "2147483648 is no label"),
        ({"a": [1.5], "b": [1]}, "class a needs a list of labels"),
        ({"a": [True], "b": [1]}, "class a needs a list of labels"),
        ({"a": 1, "b": [2]}, "class a needs a list of labels"),
        ({"a": {"x": [1]}, "b": [2]}, "class a needs a list of labels"),
        ({"whole tumour": [1], "b": [2]}, "'whole tumour' is no name of a class"),
        ({"a/b": [1], "b": [2]}, "'a/b' is no name of a class"),
        ({"": [1], "b": [2]}, "'' is no name of a class"),
        ({"core": [1], "Core": [2]}, "in case only"),
        ({"Background": [1], "b": [2], "c": [3]}, "in case only"),
        ({"a": [1, 1], "b": [2]}, "names a label twice"),
        ({f"c{n}": [n] for n in range(1, 257)}, "256 classes: at most 255"),
        ([1, 2], "must name each class with its labels"),
        ("a", "must name each class with its labels"),
    ],
)
def test_bad_classes_are_one_problem_that_says_which(classes: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(classes)
    (problem,) = caught.value.problems
    assert problem.what.startswith("data.target.classes = ") and words in problem.what


def test_all_that_is_wrong_with_the_classes_is_said_at_once() -> None:
    with pytest.raises(InputError) as caught:
        read({"a": [1, 0], "b": [1], "c d": [3], "e": []})
    text = str(caught.value)
    assert all(part in text for part in ("0 is the background", "in a and in b", "'c d'", "class e has no"))


def test_labels_and_classes_together_are_refused() -> None:
    with pytest.raises(InputError, match="labels and classes both say what is foreground"):
        read(GOOD, labels=[1])


def test_the_way_back_gives_the_lowest_label_of_each_class() -> None:
    classes = read({"oedema": [7], "core": [900, 4]}).classes
    assert classes is not None
    numbers = np.array([0, 1, 2], dtype=np.uint8)
    assert labelled(numbers, classes).tolist() == [0, 4, 7]
    assert labelled(numbers, classes).dtype == np.uint8
    large = read({"oedema": [7], "core": [900]}).classes
    assert large is not None and labelled(numbers, large).tolist() == [0, 900, 7]


def test_suggested_classes_can_be_read() -> None:
    import yaml

    text = suggested({1: "Anterior part", 2: "3rd", 3: "background", 4: "anterior part", 5: "x" * 60})
    classes = yaml.safe_load(text)
    assert sorted(label for labels in classes.values() for label in labels) == [1, 2, 3, 4, 5]
    assert read(classes).n_outputs == 6


def pair(labels: np.ndarray) -> Pair:
    image = np.random.default_rng(0).uniform(50, 100, labels.shape).astype(np.float32)
    values = tuple(int(value) for value in np.unique(labels))
    return Pair(Volume(image, np.eye(4), (1.0, 1.0, 1.0)), labels.astype(np.int32), values)


def blocks() -> np.ndarray:
    """Labels 4, 1 and 2 in three blocks of 2 x 4 x 4, 3 in a corner; the first at the border."""
    labels = np.zeros((12, 8, 8), dtype=np.int32)
    for first, label in ((0, 4), (4, 1), (8, 2)):
        labels[first : first + 2, 2:6, 2:6] = label
    labels[11, 7, 7] = 3
    return labels


def prepared(classes: Any, **preprocess: Any) -> Prepared:
    config = read({**classes, "background": [3]}, preprocess={"crop_foreground": False, **preprocess})
    return preprocess_pair(pair(blocks()), config)


def test_the_mask_of_a_case_holds_the_numbers_of_the_classes() -> None:
    labels, mask = blocks(), prepared(GOOD).mask
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask == 1, (labels == 1) | (labels == 4))
    np.testing.assert_array_equal(mask == 2, labels == 2)
    one = preprocess_pair(pair(labels), DatasetConfig(layout="msd", labels=(1, 2, 4), preprocess=NO_CROP))
    np.testing.assert_array_equal(mask > 0, one.mask == 1)


def test_resampling_mixes_no_two_labels_into_a_third() -> None:
    mask = prepared({"a": [1], "b": [2], "c": [4]}, spacing_mm=[0.7, 1.3, 0.9]).mask
    assert np.unique(mask).tolist() == [0, 1, 2, 3]
    fewest = min(np.count_nonzero(mask == number) for number in (1, 2, 3))
    assert fewest > 0.5 * 32 / (0.7 * 1.3 * 0.9)


def test_what_a_crop_loses_is_known_by_class_and_a_class_that_is_gone_is_named() -> None:
    done = prepared(GOOD, shape=[6, 8, 8])  # planes 3 to 8: label 4 is lost, and half of label 2
    assert done.lost.shape[1] == 4 and done.gone == ()
    case = Case("s", done.image, done.mask, lost=done.lost)
    assert [len(case.of_class(number).lost) for number in (1, 2)] == [32, 16]
    np.testing.assert_array_equal(case.of_class(2).mask, done.mask == 2)
    assert prepared({"a": [4], "b": [1, 2]}, shape=[6, 8, 8]).gone == ("a",)


def test_a_cached_case_with_classes_is_read_as_it_was_written(tmp_path: Path) -> None:
    done = prepared(GOOD, shape=[6, 8, 8])
    publish_entry(done, tmp_path / "entry")
    case = read_entry("s", tmp_path / "entry")
    assert case is not None
    np.testing.assert_array_equal(case.mask, done.mask)
    np.testing.assert_array_equal(case.lost, done.lost)


def test_patches_hold_a_small_class_as_often_as_a_large_one() -> None:
    mask = np.zeros((64, 64, 16), dtype=np.uint8)
    mask[:30] = 1
    mask[60, 60, 8] = 2
    case = Case("s", np.zeros((1, *mask.shape), dtype=np.float32), mask)
    sampler = PatchSampler(PatchConfig(shape=(8, 8, 8), foreground_share=1.0), seed=0)
    has_small = [bool((sampler.draw(case, step, 0).mask == 2).any()) for step in range(300)]
    assert 0.4 < np.mean(has_small) < 0.6


def test_patches_of_a_single_class_are_drawn_as_without_classes() -> None:
    mask = np.zeros((24, 24, 24), dtype=np.uint8)
    mask[3:9, 4:7, 10:20] = 1
    image = np.random.default_rng(0).normal(size=(1, *mask.shape)).astype(np.float32)
    patch = PatchConfig(shape=(8, 8, 8))
    for number in (2, 3):  # no other class is in this scan
        one, several = PatchSampler(patch, 7), PatchSampler(patch, 7)
        for step in range(20):
            plain = one.draw(Case("s", image, mask), step, 1)
            other = several.draw(Case("s", image, mask * number), step, 1)
            np.testing.assert_array_equal(plain.image, other.image)
            np.testing.assert_array_equal(plain.mask * number, other.mask)


def test_a_new_last_layer_is_said_where_classes_differ() -> None:
    assert head_warning((), ()) == head_warning(("a", "b"), ("a", "b")) == ()
    (warning,) = head_warning((), ("core", "oedema"))
    assert (
        "(core, oedema) than the source (one foreground)" in warning.what and "new last layer" in warning.fix
    )
