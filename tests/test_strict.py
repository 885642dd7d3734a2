"""Marks of fields: what takes part in a key, and which settings are for experts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.errors import InputError
from dwp_sweep.strict import (
    StrictModel,
    expert,
    expert_fields,
    keyed_values,
    meanings,
    parse,
    unkeyed,
)

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


def problem(values: dict[str, object]) -> str:
    with pytest.raises(InputError) as refused:
        parse(EXPERIMENT, {"data": {"target": {"layout": "msd"}}, **values}, "test")
    return str(refused.value)


def test_a_value_in_place_of_a_section_names_the_keys_of_the_section() -> None:
    text = problem({"loss": "dice"})
    assert "is a section" in text and "ce_weight, dice_weight; for example loss.ce_reduction" in text


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({"learning_rate": 1e-3}, "did you mean source.lr or prior.lr or target.lr?"),
        ({"target": {"learning_rate": 1e-3}}, "did you mean 'lr'?"),
        ({"target": {"epochs": 3}}, "did you mean 'max_epochs'?"),
        ({"latent_dims": 3}, "did you mean prior.latent_dim?"),
    ],
)
def test_other_words_for_a_setting_lead_to_it(values: dict[str, object], advice: str) -> None:
    assert advice in problem(values)


def test_a_list_where_one_value_is_due_leads_to_the_grid() -> None:
    assert "grid.target.lr = [0.001, 0.0001]" in problem({"target": {"lr": [1e-3, 1e-4]}})
    assert "grid.method" in problem({"method": ["random_init", "fine_tune"]})
    assert "grid" not in problem({"data": {"target": {"layout": "msd", "preprocess": {"shape": [1]}}}})


def test_what_a_field_means_is_read_from_docstrings_down_the_classes() -> None:
    class Base(StrictModel):
        """Base.

        Attributes:
            width: How wide, of
                several lines.
        """

        width: int = 1

    class Wider(Base):
        """Two ``words``.

        Attributes:
            depth: None: as `width`.

        More text: no field.
        """

        depth: int = 1

    assert meanings(Wider) == {"width": "How wide, of several lines.", "depth": "null: as width."}
    assert Wider.model_json_schema()["properties"]["width"]["description"] == "How wide, of several lines."
    assert Wider.model_json_schema()["description"] == "Two words."
