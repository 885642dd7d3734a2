"""A stage that looks at what its worker has loaded; imports nothing itself that a worker need not load."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from dwp_sweep.stages.contract import Emit, Inputs
from tests.benchmarks.sleeping import SleepConfig

HEAVY = ("torch", "scipy", "matplotlib", "nibabel", "monai", "optuna", "mlflow")


def look(
    config: SleepConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    return {name: float(name in sys.modules) for name in HEAVY}
