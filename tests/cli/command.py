"""Runs the installed console script, as a user does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(sys.executable).with_name("dwp-sweep")


def dwp_sweep(*arguments: str | Path, cwd: Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run ``dwp-sweep`` with arguments in a folder; output as text, never a terminal."""
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
