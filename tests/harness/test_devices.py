"""A worker with a GPU that torch cannot use: with the torch of this environment, which has none to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dwp_sweep.config.node import Node, make_node
from dwp_sweep.config.sections import FailuresConfig, ObjectiveConfig, ResourcesConfig, RetriesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness import in_process, trial
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.dag.ledger import Outcome
from dwp_sweep.harness.dag.resources import Resources
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.harness.search.configuration import value_of
from dwp_sweep.harness.view.status import sweep_status
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Record
from dwp_sweep.strict import StrictModel
from dwp_sweep.training.compute import ComputeConfig, resolve_device
from tests.harness.test_run import Witness

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU here")


class Computing(StrictModel):
    compute: ComputeConfig = ComputeConfig()


def run(config: Computing, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit) -> Mapping[str, float]:
    (out_dir / "out.txt").write_text("computed\n")
    return {"sum": float(torch.ones(3, device=resolve_device(config.compute)).sum())}


STAGE = Stage("target", 1, Computing, run, lambda config: 1)
AUTO, ON_CPU = Computing(), Computing(compute=ComputeConfig(device="cpu"))


def node_of(config: Computing = AUTO) -> Node:
    return make_node(STAGE, config, {}, {"method": "one"})


def sweep_of(node: Node, resources: ResourcesConfig) -> Sweep:
    failures = FailuresConfig(retries=RetriesConfig(no_gpu=1))
    return Sweep("toy", {node.key: node}, (node.key,), {"target": resources}, failures=failures)


def run_here(sweep: Sweep, store: LocalStore) -> Outcome:
    options = RunOptions(here=True)
    return run_sweep(sweep, store, options=options, progress=Witness(), stages={"target": STAGE})


def test_a_node_with_a_gpu_fails_where_torch_cannot_use_it_and_says_the_versions(tmp_path: Path) -> None:
    store, node = LocalStore(tmp_path), node_of()
    ending = run_node(node, STAGE, store, has_gpu=True)
    assert ending.status == "failed" and f"torch {torch.__version__}" in ending.message
    assert "the driver is" in ending.message and "resources.target.gpu: 0" in ending.message
    record = store.record("target", node.key)
    assert record is not None and record.failure == "no_gpu"


@pytest.mark.parametrize(("config", "has_gpu"), [(AUTO, False), (ON_CPU, True)])
def test_what_is_meant_for_cpus_is_computed_there_and_its_record_says_so(
    tmp_path: Path, config: Computing, has_gpu: bool
) -> None:
    store, node = LocalStore(tmp_path), node_of(config)
    assert run_node(node, STAGE, store, has_gpu=has_gpu).status == "published"
    record = store.record("target", node.key)
    assert record is not None and record.device == "cpu"


def test_a_run_on_a_machine_with_a_gpu_that_torch_cannot_use_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_process, "this_machine", lambda: Resources(2, 1))
    outcome = run_here(sweep_of(node_of(), ResourcesConfig()), LocalStore(tmp_path))
    ((_, message),) = outcome.failed
    assert "a GPU that torch cannot use" in message
    assert [host.counts for host in outcome.by_host] == [{"no_gpu": 2}]


def test_a_gpu_that_ray_does_not_count_must_be_usable_unless_the_sweep_says_that_none_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_process, "this_machine", lambda: Resources(2, 0))
    monkeypatch.setattr(trial, "_n_gpus", lambda: 1)
    assert run_here(sweep_of(node_of(), ResourcesConfig()), LocalStore(tmp_path)).exit_code == 1
    wants_none = sweep_of(node_of(), ResourcesConfig(gpu=0))
    assert run_here(wants_none, LocalStore(tmp_path / "other")).exit_code == 0


def test_gpu_hours_count_only_where_a_gpu_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "this_machine", lambda: Resources(2, 1))
    store = LocalStore(tmp_path)
    assert run_here(sweep_of(node_of(ON_CPU), ResourcesConfig(gpu=1)), store).exit_code == 0
    status = sweep_status("toy", store)
    assert status.gpu_hours == 0.0 < status.cpu_hours and status.devices == {"cpu": 1}
    record = Record("k", "target", "done", {}, wall_s=3600.0, device="cpu")
    hours = ObjectiveConfig(metric="gpu_hours")
    assert value_of(hours, record, Resources(4, 1)) == 4.0
    assert value_of(hours, replace(record, device="a card"), Resources(4, 1)) == 1.0
    assert value_of(hours, replace(record, device=""), Resources(4, 1)) == 1.0, "of an earlier version"
