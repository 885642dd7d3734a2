"""A real MLflow server in a process of its own, for tests that talk to it over REST or look at its pages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest


class Server:
    """An MLflow server of one worker on the loopback, over the session's database."""

    def __init__(self, folder: Path, database: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder, self.database = folder, database
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        options += [
            "--backend-store-uri",
            self.database,
            "--artifacts-destination",
            str(self.folder / "served"),
        ]
        with (self.folder / "server.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2)
                return
            except OSError:
                time.sleep(0.3)
        pytest.fail((self.folder / "server.log").read_text()[-2_000:])

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
