"""Secrets that a real run was given are searched for in everything that it leaves and says."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from dwp_sweep.harness.cluster.job_package import job_request, write_package
from tests.cli.command import ROOT
from tests.cluster.processes import BIN, PLAIN, finished
from tests.tracking.mlflow_server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SECRETS = {
    name: f"planted-{name.lower().replace('_', '-')}-7f3a"
    for name in (
        "TRACKING_URI",
        "STUDY_STORAGE",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "RAY_AUTH_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
    )
}

ONE_AFTER_THE_OTHER = """
import json, sys
from dwp_sweep.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        print("exit code", end.code or 0, flush=True)
"""


@dataclass
class Left:
    """What runs have left and said.

    Attributes:
        folders: With everything that was written.
        said: Output of the commands by the words of the first of a process.
    """

    folders: dict[str, Path]
    said: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("planted")
    ray = Path(tempfile.mkdtemp(prefix="dwp"))  # short: Ray makes sockets below it
    storage, served = folder / "runs", folder / "mlflow"
    served.mkdir()
    server = Server(served, f"sqlite:///{served / 'server.db'}")
    server.start()
    found = Left({"storage": storage, "mlflow": served, "ray": ray})
    try:
        _run_all(found, folder, server.port)
        yield found
    finally:
        server.stop()
        shutil.rmtree(ray, ignore_errors=True)


def _run_all(left: Left, folder: Path, port: int) -> None:
    environment = PLAIN | {
        name: value for name, value in SECRETS.items() if not name.endswith(("URI", "STORAGE"))
    }
    environment |= {
        "MLFLOW_TRACKING_URI": f"http://me:{SECRETS['TRACKING_URI']}@127.0.0.1:{port}",
        "DWP_SWEEP_STORAGE": str(left.folders["storage"]),
        "RAY_AUTH_MODE": "token",
        "RAY_TMPDIR": str(left.folders["ray"]),
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
    }
    demo = yaml.safe_load((ROOT / "search_spaces" / "demo.yaml").read_text())
    demo["grid"] |= {"method": ["random_init"], "train_size": [5]}
    good, searching = folder / "good.yaml", folder / "searching.yaml"
    good.write_text(yaml.safe_dump(demo))
    url = f"postgresql+psycopg://me:{SECRETS['STUDY_STORAGE']}@127.0.0.1:9/studies"
    demo |= {"search": {"target.lr": {"float": [1e-4, 1e-3]}}, "searcher": {"storage": url}}
    searching.write_text(yaml.safe_dump(demo))
    # On a real Ray, with a node that fails; then in one process what needs no Ray.
    words = ["run", str(good), "--smoke", "--set", "grid.target.lr=[1e-3, 1e30]"]
    done = finished([BIN / "dwp-sweep", *words], environment)
    assert done.returncode == 1, (done.stdout[-3_000:], done.stderr[-3_000:])
    left.said[" ".join(words)] = done.stdout + done.stderr
    report = str(left.folders["storage"] / "report.html")
    nowhere = f"http://me:{SECRETS['TRACKING_URI']}@127.0.0.1:9"
    rest = {
        ("plan", str(good), "--smoke", "--json"): 0,
        ("run", str(good), "--smoke"): 0,
        ("best", "good-smoke"): 0,
        ("report", "good-smoke", "--out", report): 0,
        ("plan", str(searching), "--smoke"): 2,
        ("submit", str(searching), "--smoke", "--address", "http://127.0.0.1:9"): 2,
        ("best", "nosuch", "--tracking-uri", nowhere): 2,
    }
    done = finished([sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps([*rest])], environment)
    codes = [int(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("exit code ")]
    assert codes == [*rest.values()], (done.stdout[-3_000:], done.stderr[-3_000:])
    left.said["the others"] = done.stdout + done.stderr


def test_nothing_that_was_said_holds_a_secret(left: Left) -> None:
    found = [(words, name) for words, text in left.said.items() for name in SECRETS if SECRETS[name] in text]
    # The last command line is our own; what it says must not repeat it.
    assert [name for _, name in found] == []
    assert any("***" in text for text in left.said.values())


@pytest.mark.parametrize("place", ["storage", "mlflow", "ray"])
def test_no_file_that_was_left_holds_a_secret(left: Left, place: str) -> None:
    files = [path for path in left.folders[place].rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 5
    secrets = {name: value.encode() for name, value in SECRETS.items()}
    found = {
        (str(path.relative_to(left.folders[place])), name)
        for path in files
        for name, value in secrets.items()
        if value in path.read_bytes()
    }
    assert found == set()


def test_the_package_of_a_job_holds_no_secret(
    left: Left, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    request = job_request(left.folders["storage"].parent / "good.yaml", smoke=True)
    write_package(request, tmp_path)
    text = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(value.encode() in text for value in SECRETS.values())
    assert not any(value in request.entrypoint for value in SECRETS.values())
    assert os.environ["RAY_AUTH_TOKEN"] not in repr(request)
