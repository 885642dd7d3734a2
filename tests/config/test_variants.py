"""The axis of named bundles: what it means, what is wrong with it, how its names travel with the nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.space import Space, load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.errors import InputError

RI, FT = {"method": "random_init"}, {"method": "fine_tune"}
DWP = {"method": "deep_weight_prior"}
TINY = {
    task: {
        "layout": "phantom",
        "phantom": {"kind": task, "n_subjects": 8, "shape": [16, 16, 16]},
        "n_val": 1,
        "n_test": 2,
    }
    for task in ("source", "target")
}
TINY["source"].pop("n_test")


def space(
    variants: Any, *overrides: str, smoke: Any = None, fixed: dict[str, Any] | None = None, **grid: Any
) -> Space:
    values = {"name": "s", "data": TINY, "fixed": fixed or {}, "grid": {"variant": variants, **grid}}
    return load_space(values if smoke is None else {**values, "smoke": smoke}, overrides, smoke is not None)


def problems(variants: Any, *overrides: str, **more: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        space(variants, *overrides, **more)
    return str(caught.value).splitlines()


def named(found: Space) -> list[tuple[Any, ...]]:
    return [(n, c.method, c.train_size) for n, c in zip(found.variants, found.conditions, strict=True)]


def test_the_axis_is_one_factor_of_the_product_in_its_own_order() -> None:
    found = space({"first": RI, "second": FT}, train_size=[5, 10])
    assert named(found) == [
        ("first", "random_init", 5),
        ("first", "random_init", 10),
        ("second", "fine_tune", 5),
        ("second", "fine_tune", 10),
    ]


def test_nested_and_dotted_settings_mean_the_same_and_take_the_place_of_fixed_ones() -> None:
    settings = {"a": {**DWP, "dwp": {"init": "source"}}, "b": {**DWP, "dwp.init": "prior"}, "c": {}}
    found = space(settings, fixed={"dwp": {"init": "he", "kl_weight": 0.5}})
    sections = [vars(condition)["dwp"] for condition in found.conditions]
    assert [(one.init, one.kl_weight) for one in sections] == [("source", 0.5), ("prior", 0.5), ("he", 0.5)]


def test_a_grid_without_variants_has_no_names() -> None:
    found = load_space({"name": "s", "data": TINY, "grid": {"split": [0, 1]}})
    assert found.variants == (None, None)


def test_the_settings_show_the_variants() -> None:
    found = space({"a": {**DWP, "dwp": {"init": "he"}}})
    assert found.settings["grid"] == {"variant": {"a": {"method": "deep_weight_prior", "dwp.init": "he"}}}


@pytest.mark.parametrize(
    ("variants", "words"),
    [
        ({}, "grid.variant is empty"),
        ([RI], "should map names to settings"),
        (None, "grid.variant = null: should map names to settings"),
        ({"a": None}, "grid.variant.a = null: should be settings"),
        ({"a | b": RI}, "'a | b' is no name of a variant"),
        ({" a": RI}, "' a' is no name of a variant"),
        ({"a": {"target.lr": 1, "target": {"lr": 2}}}, "grid.variant.a: 'target.lr' is set twice"),
        ({"a": {"targt.lr": 1}}, "unknown key 'grid.variant.a.targt' (did you mean 'target'?)"),
        ({"a": {"target.rl": 1}}, "unknown key 'grid.variant.a.target.rl'"),
        ({"a": {"target.lr": "fast"}}, 'grid.variant.a.target.lr = "fast"'),
        ({"a": RI, "b": RI}, "'a' and 'b' are the same settings"),
        ({"a": {"split": 1}}, "grid.variant.a sets 'split', and grid.split does too"),
    ],
)
def test_each_mistake_is_named_alone(variants: Any, words: str) -> None:
    (line,) = problems(variants, split=[0])
    assert words in line


def test_all_mistakes_come_at_once() -> None:
    lines = problems({"a": 3, "b": {"targt.lr": 1}, "": RI}, split=3, fixed={"lose": 1})
    words = ("grid.variant.a = 3", "grid.variant.b.targt", "'' is no name", "grid.split = 3", "'lose'")
    assert all(any(word in line for line in lines) for word in words) and len(lines) == len(words)


def test_another_axis_of_named_bundles_is_told_the_place() -> None:
    (line,) = problems({"a": RI}, split={"x": {}})
    assert "should be a list of values" in line and "grid.variant" in line


def test_a_section_within_a_variant_meets_an_axis_below_it() -> None:
    (line,) = problems({"a": {"dwp": {"init": "he"}}}, **{"dwp.init": ["prior"]})
    assert "'dwp.init'" in line


def test_an_override_takes_the_place_of_the_setting_in_every_variant() -> None:
    found = space({"a": {**RI, "target.lr": 0.5}, "b": FT}, "target.lr=0.25")
    assert [condition.target.lr for condition in found.conditions] == [0.25, 0.25]


def test_an_override_that_makes_variants_equal_says_how_to_choose_instead() -> None:
    (line,) = problems({"a": RI, "b": FT}, "method=random_init")
    assert "are the same settings" in line and "--set variant=NAME" in line


@pytest.mark.parametrize(("text", "names"), [("variant=b", ["b"]), ("variant=[c, a]", ["c", "a"])])
def test_variants_are_chosen_by_name(text: str, names: list[str]) -> None:
    assert list(space({"a": RI, "b": FT, "c": DWP}, text).variants) == names


def test_an_unknown_variant_is_answered_with_the_nearest() -> None:
    (line,) = problems({"noise only": RI, "b": FT}, "variant=noise-only")
    assert "did you mean 'noise only'?" in line


def test_one_setting_of_one_variant_is_overridden_whatever_its_name() -> None:
    variants = {"DWP": DWP, "DWP 0.1": {**DWP, "target": {"lr": 0.1}}}
    found = space(variants, "grid.variant.DWP 0.1.target.lr=0.3", "grid.variant.new={method: fine_tune}")
    assert [(n, c.target.lr) for n, c in zip(found.variants, found.conditions, strict=True)] == [
        ("DWP", 0.001),
        ("DWP 0.1", 0.3),
        ("new", 0.001),
    ]


def test_smoke_replaces_the_axis() -> None:
    found = space({"a": RI, "b": FT}, smoke={"grid": {"variant": {"b": FT}}}, train_size=[5])
    assert named(found) == [("b", "fine_tune", 5)]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def sweep(storage: Path, variants: Any, **grid: Any) -> Sweep:
    return build_sweep(space(variants, fixed={"train_size": 2}, **grid), storage)


def test_names_label_the_targets_and_change_no_key(storage: Path) -> None:
    one = sweep(storage, {"start": RI, "tuned": FT}, split=[0, 1])
    other = sweep(storage, {"renamed": RI, "tuned too": FT}, split=[0, 1])
    assert one.targets == other.targets
    assert [one.nodes[key].labels["variant"] for key in one.targets] == ["start", "start", "tuned", "tuned"]
    assert one.nodes[one.targets[0]].title == "target start: random_init m=2 split 0 seed 0"
    assert all("variant" not in node.labels for node in one.nodes.values() if node.stage != "target")


def test_a_node_of_two_variants_carries_both_names_and_twins_are_pointed_out(storage: Path) -> None:
    found = sweep(storage, {"plain": RI, "twin": {**RI, "dwp.init": "source"}, "other": FT}, split=[0])
    assert [found.nodes[key].labels["variant"] for key in found.targets] == ["plain | twin", "other"]
    (warning,) = [text for text in found.warnings if "variants" in text]
    assert "'plain' and 'twin'" in warning


def test_a_node_shared_at_one_size_only_is_no_twin(storage: Path) -> None:
    variants = {"light": {"dwp.kl_weight": 0.1}, "heavy": {"dwp.kl_weight": 0.2}}
    found = sweep(storage, variants, method=["random_init", "deep_weight_prior"])
    labels = [found.nodes[key].labels for key in found.targets]
    assert {(one["method"], one["variant"]) for one in labels} == {
        ("random_init", "light | heavy"),
        ("deep_weight_prior", "light"),
        ("deep_weight_prior", "heavy"),
    }
    assert not [text for text in found.warnings if "variants" in text]
