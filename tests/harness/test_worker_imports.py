"""What a worker loads before it knows its stage: eight of them start at once, each pays for every import."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dwp_sweep.bench.sleeping import STAGES, flat
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.store import Store
from tests.harness.looking_stage import HEAVY, look


@pytest.mark.parametrize("module", ["dwp_sweep.harness.trainable", "dwp_sweep.bench.sleeping"])
def test_what_a_worker_imports_loads_no_library_that_only_some_stages_need(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_of_a_real_run_has_loaded_none_of_them(ray_cluster: None, tmp_path: Path) -> None:
    sweep, store = flat(1, 0.0), Store(tmp_path)
    stages = {"target": replace(STAGES["target"], run=look)}
    assert run_sweep(sweep, store, stages=stages).exit_code == 0
    record = store.record("target", next(iter(sweep.nodes)))
    assert record is not None
    assert [name for name in HEAVY if record.metrics[name]] == []
