"""Settings of every test process and of all that tests start: one thread, no telemetry, no stray servers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

pytest_plugins = ("tests.store.on_s3",)  # its servers serve tests of more than one folder
ROOT = Path(__file__).resolve().parent.parent

os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
    DO_NOT_TRACK="true",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    MPLBACKEND="Agg",
    # What the bench kept on this machine is no business of a test's plan.
    XDG_CACHE_HOME=str(Path(tempfile.gettempdir()) / "dwp_sweep_tests_cache"),
    # Workers of a local Ray find the tests' own stages, too.
    PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
)
for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "DWP_SWEEP_STORAGE"):
    os.environ.pop(name, None)
