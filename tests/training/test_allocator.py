"""Large tensors stay in the process: the second one costs no page faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dwp_sweep.training.allocator import MALLOC_ENVIRONMENT

FAULTS = """
import resource, sys, torch
from dwp_sweep.training.allocator import keep_large_blocks
if sys.argv[1] == "call":
    keep_large_blocks()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    torch.ones(2**24)
before = faults()
for _ in range(3):
    torch.ones(2**24)
print(faults() - before)
"""


def page_faults(mode: str) -> int:
    """Of three tensors of 64 MiB, one after the other, in a process that has had three before."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    env |= MALLOC_ENVIRONMENT if mode == "environment" else {}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], env=env, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of glibc")
def test_both_ways_of_setting_it_keep_large_blocks() -> None:
    fresh = page_faults("neither")
    for mode in ("environment", "call"):
        assert page_faults(mode) < max(8, fresh / 10)
