"""What is declared of the stages for whoever loads none of them, held against the stages themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel

from dwp_sweep.config.experiment import EXPERIMENT
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.stages.workload import OBJECTIVE_STAGE, WORKLOADS, workload_of


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields of a config, those of optional parts included."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields(kind, f"{prefix}{name}.")


def test_every_stage_and_no_other_has_a_workload_in_the_same_order() -> None:
    assert list(WORKLOADS) == list(STAGES)
    assert OBJECTIVE_STAGE in STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_declared_are_fields_of_the_stage_and_of_the_search_space(stage: str) -> None:
    last_parts = {name.rpartition(".")[-1] for name in fields(STAGES[stage].config)}
    assert last_parts >= WORKLOADS[stage].size_fields
    assert set(fields(EXPERIMENT)) >= set(WORKLOADS[stage].path_keys)


def test_paths_are_named_by_the_key_of_the_search_space() -> None:
    config = {"dataset": {"root": "/scans", "split_file": None}, "brought": {"path": "/nets", "sha256": "0"}}
    assert list(WORKLOADS["source"].paths(config)) == [("/scans", "data.source.root"), ("/nets", "")]
    assert list(WORKLOADS["prior"].paths({"brought": None})) == []


def test_of_an_unknown_stage_nothing_is_declared() -> None:
    assert not workload_of("nothing").size_fields and workload_of("nothing").steps({}, ()) is None


def test_an_imported_network_takes_no_steps() -> None:
    config = STAGES["source"].config().model_dump() | {"brought": {"path": "/nets", "sha256": "0"}}
    assert config["dataset"] is None
    assert workload_of("source").steps(config, ()) is None


def test_asking_loads_no_stage() -> None:
    code = (
        "import sys, dwp_sweep.stages.workload; print({'torch', 'dwp_sweep.stages.source'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
