from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dwp_sweep.data.config import DatasetConfig, PhantomConfig, PreprocessConfig, subject_range
from dwp_sweep.errors import InputError
from dwp_sweep.strict import keyed_values, parse


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"layout": "mds"}, "layout"),
        ({"layout": "msd", "subjects": "first ten"}, "subjects"),
        ({"layout": "msd", "subjects": 5}, "subjects"),
        ({"layout": "msd", "subjects": []}, "subjects"),
        ({"layout": "msd", "labels": [0, 1]}, "labels"),
        ({"layout": "msd", "labels": []}, "labels"),
        ({"layout": "msd", "labels": [1, -1]}, "labels"),
        ({"layout": "msd", "labels": [2**31]}, "labels"),
        ({"layout": "msd", "channel": -1}, "channel"),
        ({"layout": "msd", "channel": [0, 0]}, "channel"),
        ({"layout": "msd", "channel": []}, "channel"),
        ({"layout": "brats", "modality": ""}, "modality"),
        ({"layout": "brats", "modality": ["t2", 1]}, "modality"),
        ({"layout": "ms", "image_pattern": ["FLAIR", "FLAIR"]}, "image_pattern"),
        ({"layout": "msd", "preprocess": {"window": [250, -200]}}, "preprocess.window"),
        ({"layout": "msd", "preprocess": {"orientation": "RAL"}}, "preprocess.orientation"),
        ({"layout": "msd", "preprocess": {"orientation": "RASS"}}, "preprocess.orientation"),
        ({"layout": "msd", "n_test": -1}, "n_test"),
        ({"layout": "msd", "preprocess": {"shape": [0, 8, 8]}}, "preprocess.shape"),
        ({"layout": "msd", "preprocess": {"spacing_mm": [1, 1, -1]}}, "preprocess.spacing_mm"),
        ({"layout": "msd", "preprocess": {"percentiles": [99, 1]}}, "preprocess.percentiles"),
        ({"layout": "phantom", "phantom": {"shape": [8, 32, 32]}}, "phantom.shape"),
    ],
)
def test_a_bad_value_is_one_problem_that_names_the_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(DatasetConfig, values, "space.yaml", "data.target")

    assert [problem.what.split(" = ")[0] for problem in caught.value.problems] == [f"data.target.{key}"]


@pytest.mark.parametrize("values", [{"layout": "phantom"}, {"layout": "msd", "phantom": {"kind": "source"}}])
def test_a_phantom_section_and_the_phantom_layout_need_each_other(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="go together"):
        parse(DatasetConfig, values, "space.yaml")


def test_paths_stay_out_of_the_key_and_the_fingerprint_is_in_it() -> None:
    here = DatasetConfig(layout="msd", root="/a", split_file="/a/splits.csv", fingerprint="f")
    there = DatasetConfig(layout="msd", root="/b", split_file="/b/splits.csv", fingerprint="f")

    assert keyed_values(here) == keyed_values(there)
    assert keyed_values(here) != keyed_values(here.model_copy(update={"fingerprint": "g"}))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"layout": "msd", "modality": ["t2", "flair"]}, "does not read several values of modality"),
        ({"layout": "brats", "image_pattern": ["a", "b"]}, "does not read several values of image_pattern"),
        ({"layout": "brats", "modality": ["t2", "t1"], "channel": [0, 1]}, "are too many"),
    ],
)
def test_several_values_that_nobody_reads_are_refused(values: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        parse(DatasetConfig, values, "space.yaml", "data.target")
    (only,) = caught.value.problems
    assert only.what.startswith("data.target: ")


@pytest.mark.parametrize(
    ("values", "n", "names"),
    [
        ({"layout": "brats"}, 1, ()),
        ({"layout": "brats", "modality": ["t2", "flair"]}, 2, ("t2", "flair")),
        ({"layout": "ms", "image_pattern": ["FLAIR", "T2", "T1"]}, 3, ("FLAIR", "T2", "T1")),
        ({"layout": "msd", "channel": [0, 3]}, 2, ("channel 0", "channel 3")),
    ],
)
def test_channels_are_counted_and_named(values: dict[str, Any], n: int, names: tuple[str, ...]) -> None:
    config = parse(DatasetConfig, values, "space.yaml")

    assert (config.n_channels, config.channel_names) == (n, names)


def test_one_modality_in_a_list_is_that_modality_and_its_key() -> None:
    one = parse(DatasetConfig, {"layout": "brats18", "modality": ["t2"]}, "space.yaml")
    assert keyed_values(one) == keyed_values(DatasetConfig(layout="brats18"))


def test_an_orientation_is_written_in_capitals() -> None:
    assert PreprocessConfig(orientation="sra").orientation == "SRA"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0:2", [0, 1]), (":-3", [0, 1]), ("3:", [3, 4]), ("-1:", [4]), (":", [0, 1, 2, 3, 4])],
)
def test_a_range_selects_as_python_does(text: str, wanted: list[int]) -> None:
    assert list(range(5))[subject_range(text)] == wanted


def test_the_data_sets_of_the_documents_are_valid() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
    (block,) = re.findall(r"^```yaml\n(BraTS: .*?)^```$", document, flags=re.MULTILINE | re.DOTALL)
    for name, values in yaml.safe_load(block).items():
        config = parse(DatasetConfig, values, name)
        assert config.n_channels == 1


def test_configs_can_be_keys_of_a_mapping() -> None:
    config = DatasetConfig(layout="phantom", phantom=PhantomConfig(), subjects=("a", "b"))

    assert {config: 1}[config.model_copy()] == 1
