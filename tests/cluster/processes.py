"""What the cluster tests start commands with: a plain environment, and waiting for their end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]

PLAIN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("RAY_", "MLFLOW_", "DWP_SWEEP_", "AWS_"))
} | {
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": os.environ["PYTHONPATH"],
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""The environment of this process without what points to servers."""


def finished(
    command: Sequence[str | Path], environment: Mapping[str, str], timeout_s: float = 900.0
) -> subprocess.CompletedProcess[str]:
    """A command that has ended, with what it printed."""
    return subprocess.run(
        command,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
