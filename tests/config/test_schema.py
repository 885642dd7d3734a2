"""The schema for editors against an independent validator: it passes what is read, and marks what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from dwp_sweep.config.plain_values import read_yaml
from dwp_sweep.config.schema import space_schema

SPACES = sorted((Path(__file__).resolve().parents[2] / "search_spaces").rglob("*.yaml"))
SCHEMA = space_schema()
VALIDATOR = Draft7Validator(SCHEMA)


def places(values: Any) -> list[str]:
    return [".".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(values)]


def test_the_schema_is_one_of_its_dialect() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert "draft-07" in SCHEMA["$schema"]


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_shipped_search_spaces_fit(path: Path) -> None:
    assert places(read_yaml(path.read_text(), str(path)).values) == []


@pytest.mark.parametrize(
    "values",
    [
        {"fixed": {"target.lr": 0.1, "target": {"patch.shape": [8, 8, 8]}}},
        {"objective": {"metric": "val_dice", "over": "split"}},
        {"objective": [{"metric": "val_dice", "over": ["split"]}]},
        {"grid": {"variant": {"a": {"method": "fine_tune", "target.lr": 1.0}}, "train_size": [1, 2]}},
        {"search": {"target.lr": {"float": [0.1, 1], "log": True, "when": {"method": "l2_sp"}}}},
        {"data": {"target": {"layout": "msd", "subjects": "0:9"}, "source.root": "scans"}},
    ],
)
def test_nested_and_dotted_keys_fit(values: dict[str, Any]) -> None:
    assert places(values) == []


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"fixd": {}}, ""),
        ({"fixed": {"learning_rate": 1}}, "fixed"),
        ({"fixed": {"target": {"lr": "fast"}}}, "fixed.target.lr"),
        ({"fixed": {"target.lr": [1, 2]}}, "fixed.target.lr"),
        ({"fixed": {"target": {"lr": 0}}}, "fixed.target.lr"),
        ({"grid": {"train_size": 5}}, "grid.train_size"),
        ({"grid": {"method": ["fine_tun"]}}, "grid.method.0"),
        ({"grid": {"variant": {"a": {"methd": "l2_sp"}}}}, "grid.variant.a"),
        ({"search": {"target.lr": {"float": [1]}}}, "search.target.lr.float"),
        ({"search": {"target.lr": [1, 2]}}, "search.target.lr"),
        ({"data": {"target": {"preprocess": {"shape": [1, 2]}}}}, "data.target.preprocess.shape"),
        ({"smoke": {"fixed": {"target": {"max_epoch": 1}}}}, "smoke.fixed.target"),
        ({"resources": {"targt": {"cpu": 1}}}, "resources"),
    ],
)
def test_what_is_refused_is_marked(values: dict[str, Any], place: str) -> None:
    assert place in places(values)


def test_an_editor_shows_meaning_and_default() -> None:
    lr = SCHEMA["$defs"]["TargetConfig"]["properties"]["lr"]
    assert lr["description"] == "Initial learning rate of Adam."
    assert lr["default"] == 1e-3
    assert "Attributes" not in str(SCHEMA)
