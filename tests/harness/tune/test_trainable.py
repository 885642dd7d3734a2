"""What a worker loads before it knows its stage: eight of them start at once, each pays for every import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.harness.looking_stage import HEAVY


@pytest.mark.parametrize("module", ["dwp_sweep.harness.tune.trainable", "tests.benchmarks.sleeping"])
def test_what_a_worker_imports_loads_no_library_that_only_some_stages_need(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
