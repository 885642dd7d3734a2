"""Search-space files: merging, overrides, smoke, and every problem at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.space import load_space
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.errors import InputError
from dwp_sweep.strict import parse

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


@pytest.mark.parametrize(
    ("method", "setting", "problem"),
    [
        (
            "deep_weight_prior", {"dwp.kl_annealing_steps": 30},
            "dwp.kl_annealing_steps = 30: the prior is fully on after 30 steps, and the training has 30 "
            "(10 epochs of 3)",
        ),
        (
            "gaussian_prior", {"gaussian_prior.kl_annealing_epochs": 10},
            "gaussian_prior.kl_annealing_epochs = 10: the prior is fully on after 30 steps, and",
        ),
        (
            "gaussian_prior",
            {"gaussian_prior.kl_annealing_epochs": 1, "gaussian_prior.kl_annealing_steps": 1},
            "kl_annealing_steps and kl_annealing_epochs say the same: give one of them",
        ),
    ],
)  # fmt: skip
def test_an_annealing_that_outlasts_the_training_is_refused(
    method: str, setting: dict[str, Any], problem: str
) -> None:
    fixed = {"target.max_epochs": 10, "train_size": 5, "target.batch_size": 2, **setting}
    assert problem in problems(a_space(fixed={**fixed, "method": method}))
    load_space(a_space(fixed={**fixed, "method": "random_init"} if "say" not in problem else {}))
    # Of five images two steps an epoch are left where two of them validate.
    share = {"data.target.validation": "train", "data.target.validation_share": 0.4}
    if method == "deep_weight_prior":
        fewer = {"dwp.kl_annealing_steps": 20, "method": method}
        assert "the training has 20 (10 epochs of 2)" in problems(a_space(fixed={**fixed, **fewer, **share}))


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
        ({"fixed": {"unet": {"n_classes": 3}}}, "leave it out: it follows from data.target.classes"),
        ({"fixed": {"unet": {"in_channels": 2}}}, "set unet.in_channels: 1"),
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


def test_modalities_and_input_channels_must_match_and_the_message_says_how() -> None:
    target = {"layout": "brats", "root": "/scans", "modality": ["t2", "flair"]}
    values = a_space(data={"target": target}, fixed={"method": "random_init"}, grid={})
    found = problems(values)
    assert "unet.in_channels is 1, but a scan of data.target has 2 channels (t2, flair)" in found
    assert "set unet.in_channels: 2" in found and len(found.splitlines()) == 1
    space = load_space(a_space(data={"target": target}, fixed={"unet.in_channels": 2}, grid={}))
    assert space.conditions[0].data.target.n_channels == space.conditions[0].unet.in_channels == 2
    source = problems(
        a_space(data={"source": {"layout": "ms"}, "target": target}, fixed={"unet.in_channels": 2}, grid={})
    )
    assert "but a scan of data.source has 1 channel; set unet.in_channels: 1, or list 2 of" in source


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


def test_problems_of_overrides_own_keys_name_axes_experiment_and_resources_come_at_once() -> None:
    text = problems(
        a_space(
            name="a/b",
            nonsense=1,
            max_failures=-1,
            fixed={"target.lerning_rate": 1},
            grid={"split": 3, "method": ["fine_tunee"], "seed": []},
            resources={"target": {"cpu": 0}, "targets": {"cpu": 1}},
        ),
        "target.lr",
        "losss.ce_weight=1",
    )
    for word in (
        "name = 'a/b'",
        "unknown key 'nonsense'",
        "max_failures = -1",
        "unknown key 'target.lerning_rate'",
        "grid.split = 3",
        "grid.method",
        "grid.seed is empty",
        "resources.target.cpu = 0",
        "unknown key 'resources.targets'",
        "--set target.lr",
        "unknown key 'losss'",
    ):
        assert word in text
    assert len(text.splitlines()) == 11


def test_a_section_that_is_no_mapping_hides_nothing_else() -> None:
    text = problems(a_space(data=3, grid=[1], fixed={"targett": 1}))
    assert "data = 3" in text and "grid = [1]" in text and "unknown key 'targett'" in text
    assert "missing key" not in text


def test_values_that_are_bad_only_together_are_reported_for_every_condition() -> None:
    text = problems(
        a_space(fixed={"loss.ce_weight": 1}, grid={"loss.dice_weight": [0, 1], "loss.ce_weight": [0, 1]})
    )
    assert "cannot both be 0" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fixed: {seed: 1}\ngrid: {}\nfixed: {seed: 2}", ["key 'fixed'", "lines 2 and 4"]),
        ("fixed:\n  target: {lr: 0.1,\n    lr: 0.2}", ["key 'lr'", "lines 3 and 4"]),
        ("fixed: {target.lr: 0.1, target: {lr: 0.2}}", ["fixed: 'target.lr' is set twice"]),
        ("fixed: {target: 3, target.lr: 0.1}", ["fixed: 'target.lr' is set twice"]),
        ("smoke: {fixed: {target.lr: 0.1, target: {lr: 0.2}}}", ["smoke.fixed: 'target.lr' is set twice"]),
    ],
)
def test_a_key_that_is_set_twice_is_refused(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(f"data: {{target: {{layout: phantom, phantom: {{}}}}}}\n{text}\nmax_failures: -1\n")
    message = problems(path)
    assert all(word in message for word in [*words, "max_failures = -1"])


def test_a_merge_key_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text(
        "data:\n  source: &task {layout: phantom, phantom: {}, n_val: 3}\n  target: {<<: *task, n_val: 4}\n"
    )
    data = load_space(path).conditions[0].data
    assert data.source is not None
    assert (data.source.n_val, data.target.n_val) == (3, 4)


@pytest.mark.parametrize("date", ["2020-13-45", "2020-01-02"])
def test_a_date_is_told_to_stand_in_quotes(tmp_path: Path, date: str) -> None:
    path = tmp_path / "date.yaml"
    path.write_text(f"name: {date}\ndata: {{target: {{layout: msx}}}}\n")
    message = problems(path)
    assert f'write "{date}" in quotes' in message and "line 1" in message and "data.target.layout" in message


@pytest.mark.parametrize("text", ["a: !!int x", "a: &a [*a]", "[" * 5000])
def test_yaml_that_means_nothing_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    assert "is no YAML" in problems(path)


def test_an_override_of_an_axis_of_a_grid_that_is_none_names_the_grid() -> None:
    assert "grid = [1, 2]" in problems(a_space(grid=[1, 2]), "grid.x=[1]")


def test_a_folder_and_an_unreadable_file_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine")
    message = problems(tmp_path)
    assert "is a folder" in message and "mine.yaml" in message

    def refuse(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "mine.yaml: cannot be read: Permission denied" in problems(tmp_path / "mine.yaml")


def test_the_smoke_section_is_checked_without_smoke() -> None:
    text = problems(
        a_space(
            fixed={"seed": -1},
            smoke={"fixed": {"target": {"max_epoch": 1}}, "grd": {}, "grid": {"split": []}},
        )
    )
    assert "with --smoke: unknown key 'target.max_epoch'" in text
    assert "with --smoke: unknown key 'grd'" in text
    assert "with --smoke: grid.split is empty" in text
    assert text.count("seed = -1") == 1


def test_a_smoke_scale_on_another_layout_takes_nothing_from_the_scans_of_the_full_one() -> None:
    scans = {"layout": "msd", "root": "/scans", "subjects": "0:90", "labels": [1], "n_val": 10, "n_test": 7}
    drawn = {"layout": "phantom", "phantom": {"kind": "target", "n_subjects": 8}, "n_val": 2}
    values = a_space(data={"source": scans, "target": scans}, smoke={"data": {"target": drawn}})
    small = load_space(values, smoke=True).conditions[0].data
    assert small.target == parse(DatasetConfig, drawn, "here")
    assert small.source == load_space(values).conditions[0].data.source
    fewer = {**values, "smoke": {"data": {"target": {"n_val": 3}}}}
    assert load_space(fewer, smoke=True).conditions[0].data.target.labels == (1,)


def test_an_override_that_does_not_fit_the_smoke_scale_is_no_problem_at_full_scale() -> None:
    values = a_space(smoke={"fixed": {"loss.ce_weight": 0}})
    assert load_space(values, ["loss.dice_weight=0"]).conditions
    with pytest.raises(InputError, match="cannot both be 0"):
        load_space({**values, "smoke": {"fixed": {"loss": {"ce_weight": 0, "dice_weight": 0}}}})


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ([4, 8, 8], "needs 4 values, has 3"),
        ([4], "needs 4 values, has 1"),
        ([4, 8, 8, 16, 16], "needs 4 values, has 5"),
    ],
)
def test_a_list_of_the_wrong_length_is_counted(channels: list[int], words: str) -> None:
    text = problems(a_space(fixed={"unet.channels": channels}))
    assert f"unet.channels = {channels}: {words}" in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value"), [("target", {"lr": 1}), ("method", "fine_tune"), ("train_size", 5), ("target.lr", 1)]
)
def test_a_key_of_the_experiment_at_the_top_level_is_told_its_place(key: str, value: Any) -> None:
    text = problems(a_space(**{key: value}))
    assert f"unknown key '{key}'" in text and "write it under fixed or grid" in text


def test_a_dotted_key_of_a_section_at_the_top_level_is_told_its_place() -> None:
    assert "write it nested, as fixed: {target.lr: ...}" in problems(a_space(**{"fixed.target.lr": 1}))


def test_a_bad_value_of_an_axis_is_named_with_the_axis_and_the_nearest_choice() -> None:
    text = problems(a_space(grid={"method": ["fine_tunee"], "dwp.noise": ["weigth"]}))
    assert 'grid.method = "fine_tunee"' in text and "did you mean 'fine_tune'?" in text
    assert 'grid.dwp.noise = "weigth"' in text and "did you mean 'weight'?" in text


@pytest.mark.parametrize("path", sorted(Path("search_spaces").rglob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("smoke", [False, True])
def test_every_file_of_the_project_is_valid(path: Path, smoke: bool) -> None:
    assert load_space(path, smoke=smoke).conditions


TARGET_GRIDS = [
    ({"data.target.preprocess.spacing_mm": [[1, 1, 1], [2, 2, 2]]}, "spacing_mm takes 2 values"),
    ({"data.target.preprocess.orientation": ["RAS", "SRA"]}, "orientation takes 2 values"),
    (
        {"data.target.preprocess": [{"shape": [16, 16, 16]}, {"shape": [24, 24, 24]}, {}]},
        "shape takes 3 values",
    ),
    (
        {"variant": {"a": {}, "b": {"data.target.preprocess.crop_foreground": False}}},
        "crop_foreground takes 2 values",
    ),
]


@pytest.mark.parametrize(("grid", "says"), TARGET_GRIDS)
def test_scores_on_different_voxel_grids_are_no_axis(grid: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"data.target.preprocess.{says} .*cannot be compared"):
        load_space(a_space(grid=grid))


def test_the_sources_voxel_grid_and_other_preparation_may_be_axes() -> None:
    grid = {
        "data.source.preprocess.spacing_mm": [[1, 1, 1], [2, 2, 2]],
        "data.target.preprocess.percentiles": [[0, 100], [1, 99]],
    }
    assert len(load_space(a_space(grid=grid)).conditions) == 4


def test_what_goes_to_mlflow_is_a_setting_of_the_file_and_of_no_key() -> None:
    base = {
        "name": "s",
        "data": {"target": {"layout": "phantom", "phantom": {"kind": "target"}}},
    }
    private = load_space({**base, "tracking": {"images": False, "subjects": "pseudonym"}})
    assert private.settings["tracking"] == {"images": False, "subjects": "pseudonym"}
    assert "tracking" not in load_space(base).settings
    assert private.conditions == load_space(base).conditions
    with pytest.raises(InputError, match="did you mean 'pseudonym'"):
        load_space({**base, "tracking": {"subjects": "pseudonyms"}})
