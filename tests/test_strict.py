"""Marks of fields: what takes part in a key, and which settings are for experts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.errors import InputError
from dwp_sweep.strict import StrictModel, expert, expert_fields, keyed_values, parse, unkeyed

SETTINGS = Path(__file__).resolve().parents[1] / "docs" / "settings.md"


class Settings(StrictModel):
    width: int = 3
    zeal: int = 1
    depth: int = expert(2)
    folder: str = unkeyed("", expert=True)


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from models(inner)


def test_a_mark_of_experts_leaves_the_key_alone() -> None:
    assert keyed_values(Settings()) == {"width": 3, "zeal": 1, "depth": 2}
    assert expert_fields(Settings) == {"depth", "folder"}


def test_known_keys_are_listed_with_those_of_experts_last() -> None:
    with pytest.raises(InputError, match="known keys: width, zeal, depth, folder"):
        parse(Settings, {"qqqq": 1}, "test")


def test_every_expert_setting_has_a_default_and_stands_in_the_documents() -> None:
    marked = {model: expert_fields(model) for model in models(EXPERIMENT)}
    for model, names in marked.items():
        assert all(not model.model_fields[name].is_required() for name in names)
    section = SETTINGS.read_text()
    listed = {
        name
        for row in section.splitlines()
        for name in re.findall(r"`([\w.]+)`", (row + "|||").split("|")[2])
    }
    assert {name.rpartition(".")[2] for name in listed} == set().union(*marked.values())
