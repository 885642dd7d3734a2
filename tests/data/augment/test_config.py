"""Settings of augmentation: short forms, presets, and what is refused with its dotted key."""

from __future__ import annotations

from typing import Any

import pytest

from dwp_sweep.data.augment.config import AugmentConfig, array_axes, impossible_changes
from dwp_sweep.errors import InputError
from dwp_sweep.stages.source import SourceConfig
from dwp_sweep.stages.target import TargetConfig
from dwp_sweep.strict import keyed_values, parse


def read(value: Any) -> AugmentConfig | None:
    return parse(TargetConfig, {"augment": value}, "file", "target").augment


def problems(value: Any, model: Any = TargetConfig, section: str = "target") -> str:
    with pytest.raises(InputError) as error:
        parse(model, {"augment": value}, "file", section)
    return str(error.value)


def test_the_name_of_a_preset_is_the_short_form_of_its_mapping() -> None:
    plain = read("plain")
    assert plain is not None and plain == read({"preset": "plain"})
    assert plain.rotation_deg.LR == 15 and plain.scale == (0.85, 1.18) and not plain.flip
    assert read({"preset": "plain", "noise": [0, 0]}) == plain.model_copy(update={"noise": (0, 0)})


@pytest.mark.parametrize(
    "value", [None, False, "none", "off", {"preset": "none"}, {"preset": "plain", "strength": 0}]
)
def test_every_way_to_say_that_there_is_no_augmentation_is_the_same(value: Any) -> None:
    assert read(value) is None
    assert parse(TargetConfig, {"augment": value}, "file") == TargetConfig()


def test_a_preset_none_is_off_whatever_stands_beside_it() -> None:
    # So target.augment.preset can be an axis of the grid over settings that all of its values share.
    assert read({"preset": "none", "flip": ["LR"], "strength": 2}) is None


def test_a_change_that_is_named_alone_is_the_only_one() -> None:
    flips = read({"flip": ["LR"]})
    assert flips is not None and flips.preset == "own" and flips.effects() == {"flip"}


def test_settings_survive_the_way_through_a_node() -> None:
    for value in ("plain", "strong", {"preset": "plain", "flip": ["SI", "LR"], "rotation_deg": {"SI": 20}}):
        config = parse(SourceConfig, {"augment": value}, "file")
        assert parse(SourceConfig, config.model_dump(mode="json"), "node") == config


def test_no_augmentation_takes_no_part_in_a_key() -> None:
    for model in (SourceConfig, TargetConfig):
        assert "augment" not in keyed_values(model())
        augmented = keyed_values(parse(model, {"augment": "plain"}, "file"))
        assert augmented["augment"]["gamma"] == [0.7, 1.5]


def test_axes_are_named_in_either_order_and_stand_in_one() -> None:
    assert read({"flip": ["IS", "rl"]}) == read({"flip": ["LR", "SI"]})
    assert read({"rotation_deg": {"IS": 5}}) == read({"rotation_deg": {"SI": 5}})
    assert read({"rotation_deg": 5}) == read({"rotation_deg": {"LR": 5, "AP": 5, "SI": 5}})
    assert array_axes("SRA") == {"LR": 1, "AP": 2, "SI": 0}
    assert array_axes("LPI") == {"LR": 0, "AP": 1, "SI": 2}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("plian", "target.augment.preset = \"plian\": input should be 'none'"),
        (True, "target.augment = true: name what is meant, such as plain"),
        (3, "target.augment = 3: is a section with keys of its own"),
        ({}, "target.augment = {"),
        ({"strength": 2}, "changes nothing: name a preset"),
        ({"preset": "plain", "strength": -1}, "target.augment.strength = -1: input should be greater"),
        ({"flip": ["time"]}, "target.augment.flip = [\"time\"]: 'time' is no axis of the data"),
        ({"flip": [0]}, "0 is no axis of the data; axes are LR, AP, SI"),
        ({"flip": ["LR", "RL"]}, "names the axis LR more than once"),
        ({"flip": {"LR": 1}}, "must name axes of the patient"),
        ({"rotation_deg": -5}, "target.augment.rotation_deg = -5: must be within 0 and 180"),
        ({"rotation_deg": {"AP": 270}}, "target.augment.rotation_deg.AP = 270: input should be less"),
        ({"rotation_deg": {"X": 5}}, "unknown key 'target.augment.rotation_deg.X'"),
        ({"scale": [-0.8, 1.2]}, "target.augment.scale = [-0.8, 1.2]: must be two rising factors"),
        ({"scale": [1.2, 0.8]}, "must be two rising factors within 0.1 and 10"),
        ({"scale": 1.2}, "target.augment.scale = 1.2"),
        ({"noise": [0.1]}, "target.augment.noise = [0.1]: needs 2 values, has 1"),
        ({"noise": [-0.1, 0.1]}, "target.augment.noise = [-0.1, 0.1]: must be two rising numbers"),
        ({"low_resolution": [0.5, 2]}, "target.augment.low_resolution = [0.5, 2]: must be two rising shares"),
        ({"elastic": 4}, "elastic 4 times strength 1 folds the image over itself"),
        ({"preset": "plain", "rotations": 5}, "unknown key 'target.augment.rotations'"),
        ({"preset": "plain", "remap": 1}, "unknown key 'target.augment.remap'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_dotted_key(value: Any, words: str) -> None:
    assert words in problems(value)


def test_only_source_networks_see_other_contrasts() -> None:
    config = parse(SourceConfig, {"augment": {"remap": 0.5}}, "file")
    assert config.augment is not None and config.augment.effects() == {"remap"}
    assert "source.augment.remap" in problems({"remap": 1.5}, SourceConfig, "source")


def test_volumes_of_one_slice_turn_within_it_and_flip_along_it_nowhere() -> None:
    augment = read({"preset": "plain", "flip": ["LR", "SI"]})
    found = impossible_changes(augment, [(32, 32, 16), (32, 32, 1)], "RAS", "target.augment")
    assert [one.where for one in found] == ["target.augment.flip", "target.augment.rotation_deg"]
    assert "single slice along SI" in found[0].what and found[0].fix == "leave SI out"
    assert "about LR, AP leaves the plane" in found[1].what and found[1].fix == "set it to {SI: 15}"
    allowed = read({"preset": "plain", "rotation_deg": {"SI": 15}, "flip": ["LR"]})
    assert not impossible_changes(allowed, [(32, 32, 1)], "RAS", "target.augment")
    assert impossible_changes(allowed, [(32, 32, 1)], "SRA", "target.augment"), "the slice is AP there"
    assert not impossible_changes(None, [(1, 1, 1)], "RAS", "target.augment")
