"""A temporary PostgreSQL of Debian's package: it refuses root, so it runs as the user postgres."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.cluster.processes import PLAIN, running

USER = "postgres"


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, the newest; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


def why_not() -> str:
    """Why PostgreSQL cannot be started here; empty where it can."""
    if programs() is None:
        return "there is no /usr/lib/postgresql (Debian's package postgresql)"
    if find_spec("psycopg") is None:
        return "Python has no psycopg (it comes with the extra `server`)"
    if os.geteuid() != 0:
        return "becoming the user postgres needs root"
    return ""


@contextmanager
def started_postgres(
    host: str, port: int, inside: Sequence[str] = (), trust: str = "127.0.0.1/32"
) -> Iterator[str]:
    """A running server with an empty database; gives its URL.

    Args:
        host: Where it listens.
        port: Where it listens.
        inside: Words before each command that speaks to it, as ``ip netns exec NAME``.
        trust: Addresses that need no password.
    """
    bin_dir = programs()
    assert bin_dir is not None
    # Not below pytest's folders, which other users than root do not enter.
    folder = Path(tempfile.mkdtemp(prefix="dwp-pg-"))
    data, log = folder / "data", folder / "log"
    try:
        shutil.chown(folder, USER, USER)
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        _run([*as_postgres, bin_dir / "initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--no-sync"])
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {trust} trust\n")
        options = ["-h", host, "-p", str(port), "-k", folder, "-c", "fsync=off"]
        asked = [*inside, bin_dir / "pg_isready", "-q", "-h", host, "-p", str(port)]

        def is_ready() -> bool:
            return subprocess.run(asked, check=False).returncode == 0

        command = [*inside, *as_postgres, bin_dir / "postgres", "-D", data, *options]
        with running(command, PLAIN, log, is_ready, stop_by=signal.SIGINT):
            _run([*inside, bin_dir / "createdb", "-h", host, "-p", str(port), "-U", USER, "mlflow"])
            yield f"postgresql+psycopg://{USER}@{host}:{port}/mlflow"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
