from __future__ import annotations

import json
from typing import Any, get_args

from pydantic import BaseModel

from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.methods import METHODS
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.tables import Stat
from dwp_sweep.tracking.mlflow_format import flatten, public_config, unflatten
from dwp_sweep.tracking.read.configuration import changes_results, configurations
from dwp_sweep.tracking.read.rows import NodeRow


def leaves(model: type[BaseModel], keyed: bool = True, prefix: str = "") -> list[tuple[str, bool]]:
    """(dotted name, keyed) of every field that is no section."""
    found = []
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        is_keyed = keyed and not (isinstance(extra, dict) and extra.get("keyed") is False)
        sections = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        inner = [t for t in sections if issubclass(t, BaseModel)]
        if inner:
            found += leaves(inner[0], is_keyed, f"{prefix}{name}.")
        else:
            found.append((prefix + name, is_keyed))
    return found


def test_exactly_the_unkeyed_fields_of_all_components_do_not_change_results() -> None:
    fields = {pair for stage in STAGES.values() for pair in leaves(stage.config)} | set(leaves(EXPERIMENT))
    # How many source networks there are is read off the bank's inputs instead; which one a target starts
    # from is unkeyed in the source's settings and keyed in the target's.
    elsewhere = ("source.n_seeds", "source.member")
    wrong = [name for name, keyed in fields if changes_results(name) != keyed and name not in elsewhere]
    assert wrong == []


def row(key: str, stage: str, inputs: Any = None, **params: Any) -> NodeRow:
    labels = {
        name: params[name] for name in ("method", "train_size", "split", "seed", "group") if name in params
    }
    return NodeRow(key, stage, "done", labels, params, {}, inputs or {})


def identity(*rows: NodeRow) -> str:
    return configurations(rows)[len(rows) - 1].identity


def test_equal_but_for_split_seed_and_place_is_the_same_configuration() -> None:
    first = row(
        "a", "target", method="m", train_size=5, split=0, seed=0, **{"data.target.root": "/a", "unet.x": 1}
    )
    second = row(
        "b", "target", method="m", train_size=5, split=1, seed=1, **{"data.target.root": "/b", "unet.x": 1}
    )
    other = row(
        "c", "target", method="m", train_size=5, split=0, seed=0, **{"data.target.root": "/a", "unet.x": 2}
    )
    assert identity(first) == identity(second) != identity(other)


def test_what_an_ancestor_brought_tells_configurations_apart() -> None:
    def brought(digest: str) -> str:
        prior = row(
            "p", "prior", **{"prior.brought.group1.sha256": digest, "prior.brought.group1.path": f"/{digest}"}
        )
        return identity(prior, row("t", "target", {"priors": (("prior", "p"),)}, method="m"))

    assert brought("ab") != brought("cd")


def test_more_source_networks_are_another_configuration() -> None:
    def with_sources(count: int) -> str:
        sources = [row(f"s{n}", "source", seed=n, **{"source.n_seeds": 9}) for n in range(count)]
        bank = row("h", "harvest", {"sources": tuple(("source", f"s{n}") for n in range(count))})
        return identity(*sources, bank, row("t", "target", {"priors": (("harvest", "h"),)}, method="m"))

    assert with_sources(2) != with_sources(3)


def test_a_sections_value_that_differs_upstream_is_kept_apart() -> None:
    source = row("s", "source", **{"unet.channels": [8]})
    found = configurations(
        [source, row("t", "target", {"source": (("source", "s"),)}, **{"unet.channels": [4]})]
    )[1]
    assert found.values["unet.channels"] == [4] and found.values["source:unet.channels"] == [8]


def test_a_real_experiments_settings_come_back_as_a_search_space_has_them() -> None:
    """Every stage's config, told as runs tell it and merged, is the experiment that it came from."""
    values = {
        "method": "deep_weight_prior", "train_size": 5,
        "data": {"source": {"layout": "msd", "root": "/s"}, "target": {"layout": "msd", "root": "/t"}},
    }  # fmt: skip
    whole = EXPERIMENT.model_validate_json(json.dumps(values))
    plain = whole.model_dump(mode="json")
    sections = {
        stage: {n: plain[n] for n in STAGES[stage].config.model_fields if n in plain} for stage in STAGES
    }
    sections["source"]["dataset"] = plain["data"]["source"]
    sections["target"] |= {"dataset": plain["data"]["target"], "settings": {"dwp": plain["dwp"]}}
    merged: dict[str, Any] = {}
    for stage in reversed(STAGES):
        merged = merge(merged, public_config(stage, sections[stage]))
    others = {name for method in METHODS.values() for name in method.sections} - {"dwp"}
    told, meant = flatten(merged), flatten({name: plain[name] for name in plain if name not in others})
    assert told.items() <= meant.items()
    # Patches and clean-up are told only where they are used.
    idle = {part for name in set(meant) - set(told) for part in name.split(".")[1:]}
    assert idle >= {"patch", "postprocess"}
    assert {"percentiles", "lr", "layout"}.isdisjoint(idle)
    assert EXPERIMENT.model_validate_json(json.dumps(unflatten(merged))) == whole


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: merge(first[name], second[name])
        for name in first
        if name in second and isinstance(first[name], dict)
    }
    return {**second, **first, **both}


def test_a_mean_and_its_spread_are_written_for_each_place_that_shows_them():
    two = Stat(0.73821, 0.01091, 2)

    assert str(two) == "0.738 (0.011)"
    assert two.short() == "0.7382 (0.011)"
    assert two.plus_minus() == "0.738 ± 0.011"
    assert two.explained() == "0.7382 (std 0.0109, n = 2)"


def test_of_a_single_value_no_spread_is_shown():
    single = Stat(1234.5, None, 1)

    assert (str(single), single.short(), single.plus_minus()) == ("1234.500", "1234", "1234.500")
    assert single.explained() == "1234.5000 (one run: no spread known)"
