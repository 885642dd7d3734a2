"""Search-space files: merging, overrides, smoke, and every problem at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.space import load_space
from dwp_sweep.errors import InputError

PHANTOM = {
    "source": {"layout": "phantom", "phantom": {"kind": "source"}},
    "target": {"layout": "phantom", "phantom": {"kind": "target"}},
}


def a_space(**values: Any) -> dict[str, Any]:
    return {"name": "s", "data": PHANTOM, **values}


def problems(source: Any, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_space(source, overrides)
    return str(caught.value)


def test_the_grid_is_a_cartesian_product_in_its_own_order() -> None:
    space = load_space(a_space(grid={"method": ["random_init", "fine_tune"], "train_size": [5, 10]}))
    found = [(condition.method, condition.train_size) for condition in space.conditions]
    assert found == [("random_init", 5), ("random_init", 10), ("fine_tune", 5), ("fine_tune", 10)]


def test_dotted_and_nested_keys_mean_the_same() -> None:
    nested = load_space(a_space(fixed={"target": {"lr": 0.01, "patience": 3}, "loss": {"ce_weight": 0.5}}))
    dotted = load_space(a_space(fixed={"target.lr": 0.01, "target": {"patience": 3}, "loss.ce_weight": 0.5}))
    assert nested.conditions == dotted.conditions


def test_an_override_takes_the_place_of_a_grid_axis() -> None:
    space = load_space(
        a_space(grid={"train_size": [5, 10], "split": [0, 1]}), ["train_size=7", "target.lr=1e-4"]
    )
    assert [(one.train_size, one.split) for one in space.conditions] == [(7, 0), (7, 1)]
    assert space.conditions[0].target.lr == 1e-4


def test_an_override_can_change_an_axis_or_the_name() -> None:
    space = load_space(a_space(grid={"split": [0]}), ["grid.split=[3, 4]", "name=other"])
    assert space.name == "other"
    assert [condition.split for condition in space.conditions] == [3, 4]


def test_smoke_shrinks_and_renames() -> None:
    values = a_space(
        fixed={"target.max_epochs": 50, "target.lr": 0.1},
        grid={"split": [0, 1, 2]},
        smoke={"fixed": {"target": {"max_epochs": 1}}, "grid": {"split": [0]}},
    )
    space = load_space(values, smoke=True)
    assert space.name == "s-smoke"
    assert [(one.split, one.target.max_epochs, one.target.lr) for one in space.conditions] == [(0, 1, 0.1)]


def test_the_name_is_the_files_stem(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("data: {target: {layout: phantom, phantom: {kind: target}}}\nfixed: {target.lr: 1e-4}\n")
    space = load_space(path)
    assert space.name == "mine"
    assert space.conditions[0].target.lr == 1e-4  # PyYAML alone would read 1e-4 as text


def test_all_problems_of_a_file_are_reported_at_once_with_the_nearest_name() -> None:
    text = problems(
        a_space(
            fixed={"target": {"lerning_rate": 1}, "dwp.kl_fraction": 2, "unet.channels": [1, 2, 3]},
            grid={"method": ["random_init", "fine_tunee"], "train_size": [0]},
            resources={"targets": {"cpu": 1}},
        )
    )
    assert "unknown key 'target.lerning_rate'" in text
    assert "dwp.kl_fraction = 2" in text and "less than or equal to 1" in text
    assert "unet.channels" in text
    assert 'method = "fine_tunee"' in text and "deep_weight_prior" in text
    assert "train_size = 0" in text
    assert "unknown key 'resources.targets'" in text


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"grd": {}}, "did you mean 'grid'?"),
        ({"fixed": {"train_size": "five"}}, 'train_size = "five"'),
        ({"fixed": {"train_size": True}}, "train_size = true"),
        ({"fixed": {"target": {"lr": -1}}}, "target.lr = -1"),
        ({"fixed": {"freeze.trainable": ["down9"]}}, "freeze.trainable"),
        ({"fixed": {"target": {"lr": 1e-6}}}, "end of the schedule already"),
        ({"fixed": {"target": {"lr": float("inf")}}}, "target.lr"),
        ({"fixed": {"unet": {"n_classes": 3}}}, "n_classes: 2"),
        ({"fixed": {"unet": {"in_channels": 2}}}, "in_channels: 1"),
        ({"fixed": {"compute": {"cache_dir": "/x"}}}, "--storage"),
        ({"grid": {"split": []}}, "grid.split is empty"),
        ({"grid": {"split": 3}}, "grid.split = 3"),
        ({"name": "a/b"}, "name = 'a/b'"),
        ({"data": {"source": None}}, "missing key 'data.target'"),
        ({"fixed": {"loss": {"dice_weight": 0, "ce_weight": 0}}}, "cannot both be 0"),
    ],
)
def test_each_bad_value_is_named(values: dict[str, Any], word: str) -> None:
    assert word in problems(a_space(**values))


@pytest.mark.parametrize(
    ("text", "word"),
    [("", "is empty"), ("a: [1", "is no YAML"), ("- 1\n- 2\n", "holds a list"), ("\x00", "is no YAML")],
)
def test_a_file_that_is_no_space_is_named(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    message = problems(path)
    assert word in message and "bad.yaml" in message


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("name: demo")
    assert "did you mean" in problems(tmp_path / "demoo.yaml")


@pytest.mark.parametrize("text", ["target.lr", "=1", "target.lr=[1"])
def test_an_override_that_is_none_is_named(text: str) -> None:
    assert f"--set {text}" in problems(a_space(), text)


def test_smoke_without_a_section_says_so() -> None:
    with pytest.raises(InputError, match="no section 'smoke'"):
        load_space(a_space(), smoke=True)


@pytest.mark.parametrize("path", sorted(Path("search_spaces").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("smoke", [False, True])
def test_every_file_of_the_project_is_valid(path: Path, smoke: bool) -> None:
    assert load_space(path, smoke=smoke).conditions
