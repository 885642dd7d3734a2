"""Settings as they are explained: complete, true to the models that check them, found by other words."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.config.plain_values import nested
from dwp_sweep.config.sections import SpaceFile
from dwp_sweep.config.settings import SettingFacts, all_settings, find_settings
from dwp_sweep.errors import InputError
from dwp_sweep.strict import dotted_fields, meanings, parse

SETTINGS = {setting.key: setting for setting in all_settings()}
EXPERIMENTS = dict(dotted_fields(EXPERIMENT))
LIMITS = re.compile(r"(at least|above|at most|below) (-?[\d.,]+)")


def keys(name: str) -> list[str]:
    return [setting.key for setting in find_settings(name).settings]


def checked(key: str, value: Any) -> None:
    base = {"data.source.layout": "msd", "data.target.layout": "msd"}
    phantom = {"layout": "phantom", "phantom": {}}
    if ".phantom." in key:
        base = {"data.source": phantom, "data.target": phantom}
    parse(EXPERIMENT, nested({**base, key: value}), "test")


def test_every_key_of_an_experiment_and_of_a_file_is_explained() -> None:
    sections = {key.partition(".")[0] for key in SETTINGS if "." in key}
    own = set(SpaceFile.model_fields) - sections
    assert {"budget", "failures", "tracking"} <= sections
    assert EXPERIMENTS.keys() | own <= SETTINGS.keys()
    assert [key for key, setting in SETTINGS.items() if len(setting.meaning) < 5 or not setting.allowed] == []


def test_a_docstring_explains_no_field_that_its_model_lacks() -> None:
    models = {type(EXPERIMENT.model_fields[name].default) for name in EXPERIMENT.model_fields} | {SpaceFile}
    own = [model for model in models if hasattr(model, "model_fields")]
    assert len(own) > 8
    assert [set(meanings(model)) - set(model.model_fields) for model in own] == [set()] * len(own)


@pytest.mark.parametrize("key", EXPERIMENTS)
def test_a_default_is_the_one_that_the_model_takes(key: str) -> None:
    shown, field = SETTINGS[key].default, EXPERIMENTS[key]
    if field.is_required():
        assert shown == "(to be given)"
    else:
        value = yaml.safe_load(shown)
        assert value == pytest.approx(json.loads(json.dumps(field.default))) or float(value) == field.default


@pytest.mark.parametrize("key", [key for key in EXPERIMENTS if LIMITS.search(SETTINGS[key].allowed)])
def test_a_value_beyond_the_range_that_is_shown_is_refused(key: str) -> None:
    for word, text in LIMITS.findall(SETTINGS[key].allowed):
        limit = float(text.replace(",", ""))
        step = 1 if "whole" in SETTINGS[key].allowed else 1e-6
        wrong = limit + {"at least": -step, "above": 0, "at most": step, "below": 0}[word]
        wrong = int(wrong) if "whole" in SETTINGS[key].allowed else wrong
        with pytest.raises(InputError) as refused:
            checked(key, wrong)
        assert any(key in problem.what for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("target.lr", ["target.lr"]),
        ("lr", ["source.lr", "prior.lr", "target.lr"]),
        ("learning_rate", ["source.lr", "prior.lr", "target.lr"]),
        ("learning-rate", ["source.lr", "prior.lr", "target.lr"]),
        ("target.patch", ["target.patch.shape", "target.patch.foreground_share", "target.patch.overlap"]),
        ("loss", ["loss.dice_weight", "loss.ce_weight", "loss.ce_reduction"]),
        ("latent_size", ["prior.latent_dim"]),
        ("wall", ["budget.wall"]),
    ],
)
def test_a_setting_is_found_by_key_section_and_other_words(name: str, found: list[str]) -> None:
    assert keys(name) == found


def test_another_word_says_what_the_setting_is_called_here() -> None:
    assert find_settings("learning_rate").note == "learning_rate is called lr here"


def test_a_word_of_the_meaning_finds_settings() -> None:
    found = find_settings("Gaussian process")
    assert keys("Gaussian process") == ["searcher.kind"]
    assert "speak of it" in found.note


@pytest.mark.parametrize(
    ("name", "advice"), [("trgt.lr", "target.lr"), ("tagret", "target"), ("qqqq", "sections: budget")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, advice: str) -> None:
    with pytest.raises(InputError, match=advice):
        find_settings(name)


def test_sections_with_equal_keys_are_one_table() -> None:
    titles = [table.title for table in find_settings().tables()]
    assert "data.source, data.target" in titles
    assert len(titles) == len(set(titles))
    assert len(find_settings("lr").tables()) == 1


def test_units_and_ranges_are_words() -> None:
    setting = SETTINGS["data.target.preprocess.spacing_mm"]
    assert (setting.unit, setting.allowed) == ("mm", "3 numbers or null")
    assert SETTINGS["dwp.init_log_var"].allowed == "number, -30 to 2"
    assert SETTINGS["freeze.n_frozen"].allowed == "whole number or null, at least 0, below 11"
    assert "random_init, fine_tune" in SETTINGS["method"].allowed
    assert SETTINGS["target.threshold"].is_expert
    assert isinstance(setting.to_dict()["key"], str) and isinstance(setting, SettingFacts)
