"""Searched fields that change no network, on a toy that reads some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dwp_sweep.config.node import Node, make_node
from dwp_sweep.config.search.checks import inactive_parameters
from dwp_sweep.config.search.definition import SearchCondition, SearchSpace
from dwp_sweep.config.search.distribution import Distribution
from dwp_sweep.config.sections import ObjectiveConfig, SchedulerConfig, SearcherConfig
from dwp_sweep.errors import InputError
from dwp_sweep.strict import parse
from tests.harness.toy_stages import STAGES, ToyConfig


def space(distributions: Mapping[str, Any], **methods: str) -> SearchSpace:
    conditions = methods or {"all": "dwp"}
    return SearchSpace(
        distributions={key: parse(Distribution, one, "test") for key, one in distributions.items()},
        objectives=(ObjectiveConfig(),),
        searcher=SearcherConfig(),
        scheduler=SchedulerConfig(kind="none"),
        conditions=tuple(
            SearchCondition(name, (place,), {"method": method})
            for place, (name, method) in enumerate(conditions.items())
        ),
    )


def resolve_for(*methods: str) -> Any:
    """``weight`` is read by one method only, ``warmup`` only where ``weight`` is not 0, ``other`` never."""

    def resolve(values: Mapping[str, Any], place: int) -> Node:
        read = {name: values[name] for name in ("lr",) if name in values}
        if methods[place] == "dwp":
            read["weight"] = values.get("weight", 1)
            read["warmup"] = values.get("warmup", 0) if read["weight"] else 0
        return make_node(STAGES["target"], ToyConfig(name=f"{methods[place]} {sorted(read.items())}"))

    return resolve


LR = {"float": [0.1, 1.0]}


def test_fields_that_every_study_reads_are_not_told() -> None:
    search = space({"lr": LR, "weight": {"int": [0, 4]}, "warmup": {"int": [0, 9]}})
    assert inactive_parameters(search, resolve_for("dwp"), "space.yaml") == []


def test_a_field_that_some_studies_do_not_read_is_told_with_one_of_them() -> None:
    search = space({"lr": LR, "weight": {"int": [0, 4]}}, a="dwp", b="random", c="random")
    (note,) = inactive_parameters(search, resolve_for("dwp", "random", "random"), "space.yaml")
    assert note == "search.weight changes no network of b and 1 more: give it a when"


def test_a_when_that_keeps_it_to_its_readers_settles_it() -> None:
    when = {"int": [0, 4], "when": {"method": "dwp"}}
    search = space({"lr": LR, "weight": when}, a="dwp", b="random")
    assert inactive_parameters(search, resolve_for("dwp", "random"), "space.yaml") == []


def test_a_field_that_nothing_reads_is_refused_by_its_dotted_key() -> None:
    search = space({"lr": LR, "deep.other": {"int": [0, 4]}})
    with pytest.raises(InputError, match=r"space.yaml: search.deep.other changes no network"):
        inactive_parameters(search, resolve_for("dwp"), "space.yaml")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_field_that_one_of_the_searched_methods_reads_is_not_refused(place: int) -> None:
    names = ["random_init", "fine_tune"]
    names.insert(place, "dwp")
    search = space({"lr": LR, "method": {"choice": names}, "weight": {"int": [0, 4]}}, all="random_init")

    def resolve(values: Mapping[str, Any], place: int) -> Node:
        read = {name: values[name] for name in ("lr", "method")}
        if values["method"] == "dwp":
            read["weight"] = values["weight"]
        return make_node(STAGES["target"], ToyConfig(name=str(sorted(read.items()))))

    assert inactive_parameters(search, resolve, "space.yaml") == []
