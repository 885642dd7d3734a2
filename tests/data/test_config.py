from __future__ import annotations

from typing import Any

import pytest

from dwp_sweep.data.config import DatasetConfig, PhantomConfig, subject_range
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
        ({"layout": "msd", "channel": -1}, "channel"),
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
    ("text", "wanted"),
    [("0:2", [0, 1]), (":-3", [0, 1]), ("3:", [3, 4]), ("-1:", [4]), (":", [0, 1, 2, 3, 4])],
)
def test_a_range_selects_as_python_does(text: str, wanted: list[int]) -> None:
    assert list(range(5))[subject_range(text)] == wanted


def test_configs_can_be_keys_of_a_mapping() -> None:
    config = DatasetConfig(layout="phantom", phantom=PhantomConfig(), subjects=("a", "b"))

    assert {config: 1}[config.model_copy()] == 1
