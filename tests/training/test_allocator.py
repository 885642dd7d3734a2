"""Large tensors stay in the process: after a few steps a step costs no page faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dwp_sweep.harness.trial import MALLOC_ENVIRONMENT

FAULTS = """
import resource, sys, torch
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.harness.trial import keep_large_blocks

if sys.argv[1] == "call":
    keep_large_blocks()
torch.manual_seed(0)
net, x = UNet3D(), torch.randn(2, 1, 32, 32, 32)

def faults_of(n_steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n_steps):
        net(x).square().mean().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults_of(8)
print(faults_of(4))
"""


def page_faults(mode: str) -> int:
    """Of four training steps in a process that has taken eight."""
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
        assert page_faults(mode) < fresh / 10
