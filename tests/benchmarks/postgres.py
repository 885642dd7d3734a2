"""A temporary PostgreSQL of its own, of Debian's packages or alike, for benches and tests.

It refuses root, as whom it runs under the name ``postgres``; others run it themselves.
"""

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

from tests.benchmarks.servers import running

_ROOT = Path("/usr/lib/postgresql")
_USER = "postgres"


def why_no_postgres() -> str:
    """Why none can be started here; empty where one can."""
    if _programs() is None:
        return f"there is no PostgreSQL in {_ROOT} (Debian's package postgresql)"
    if find_spec("psycopg") is None:
        return "Python has no psycopg (it comes with the extra `server`)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "root cannot become the user postgres without setpriv"
    return ""


@contextmanager
def started_postgres(host: str, port: int, inside: Sequence[str] = ()) -> Iterator[str]:
    """A running server with an empty database, whose local clients need no password; gives its URL.

    Args:
        host: Where it listens.
        port: Where it listens.
        inside: Words before each command that speaks to it, as ``ip netns exec NAME``.

    Raises:
        RuntimeError: It did not start.
    """
    programs = _programs()
    if programs is None:
        raise RuntimeError(why_no_postgres())
    # Not below a folder that only this user enters.
    folder = Path(tempfile.mkdtemp(prefix="dwp-pg-"))
    try:
        as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, _USER, _USER)
            as_user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
        data = folder / "data"
        options = ["-A", "trust", "-U", _USER, "-E", "UTF8", "--no-sync"]
        _run([*as_user, programs / "initdb", "-D", data, *options])
        where = ["-h", host, "-p", str(port)]
        asked: list[str | Path] = [*inside, programs / "pg_isready", "-q", *where]
        command: list[str | Path] = [
            *inside,
            *as_user,
            programs / "postgres",
            "-D",
            data,
            *where,
            "-k",
            folder,
        ]

        def is_ready() -> bool:
            return subprocess.run(asked, check=False).returncode == 0

        with running(command, os.environ, folder / "log", is_ready, stop_by=signal.SIGINT):
            _run([*inside, programs / "createdb", *where, "-U", _USER, "mlflow"])
            yield f"postgresql+psycopg://{_USER}@{host}:{port}/mlflow"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = [path for path in _ROOT.glob("*/bin/initdb") if path.parts[4].isdigit()]
    return max(found, key=lambda path: int(path.parts[4])).parent if found else None


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")
