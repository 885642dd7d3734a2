"""The installed command on generated scans: networks are the same to the bit, whatever was killed."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from dwp_sweep.api.planning import read_sweep, silent
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import RECORD
from dwp_sweep.store.record import read_history, read_record
from tests.chaos.account import Account, account_of, assert_same
from tests.cli.command import ROOT, SCRIPT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2000)]

SPACE = ROOT / "search_spaces" / "demo.yaml"
LONGER = ("target.max_epochs=5", "source.max_epochs=5", "prior.max_epochs=4")
"""Long enough to be met in the middle."""


@dataclass
class Demo:
    """A demo on a storage of its own."""

    root: Path

    def start(self) -> subprocess.Popen[bytes]:
        command = [str(SCRIPT), "run", str(SPACE), "--smoke", "--storage", str(self.root)]
        command += [word for setting in LONGER for word in ("--set", setting)]
        with (self.root.parent / f"output-{time.monotonic_ns()}.txt").open("wb") as output:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    @property
    def output(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.root.parent.glob("output-*.txt")))

    @property
    def sweep(self) -> Sweep:
        return read_sweep(SPACE, LocalStore(self.root), True, LONGER, None, silent, None)

    def n_epochs(self) -> int:
        """Epochs done by now."""
        done = sum(len(read_record(path).history) for path in self.root.glob(f"[!w]*/*/{RECORD}"))
        return done + sum(len(read_history(path)) for path in self.root.glob("work/*/*/history.jsonl"))

    def wait_for(self, n_epochs: int, process: subprocess.Popen[bytes]) -> None:
        while self.n_epochs() < n_epochs:
            assert process.poll() is None, self.output[-5_000:]
            time.sleep(0.05)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait(900)
        assert process.returncode == 0, self.output[-5_000:]

    def account(self) -> Account:
        return account_of(self.root, sweep=self.sweep)


@pytest.fixture(scope="module")
def calm_demo(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Demo:
    """One that nobody disturbed."""
    made = _demo(tmp_path_factory.mktemp("calm-demo"), empty_database)
    made.end(made.start())
    return made


@pytest.fixture
def demo(tmp_path: Path, empty_database: Path) -> Demo:
    return _demo(tmp_path, empty_database)


def _demo(folder: Path, database: Path) -> Demo:
    root = folder / "runs"
    root.mkdir()
    shutil.copy(database, root / "mlflow.db")
    return Demo(root)


def test_a_real_sweep_whose_worker_and_driver_were_killed_gives_the_same_networks(
    demo: Demo, calm_demo: Demo, chance: random.Random
) -> None:
    n_epochs = calm_demo.n_epochs()
    driver = demo.start()
    try:
        demo.wait_for(round(chance.uniform(0.1, 0.4) * n_epochs), driver)
        _a_worker(driver, chance).kill()
        demo.wait_for(round(chance.uniform(0.5, 0.9) * n_epochs), driver)
    finally:
        driver.kill()
        driver.wait()
    demo.end(demo.start())
    assert "its worker died" in demo.output
    assert_same(demo.account(), calm_demo.account())


def _a_worker(driver: subprocess.Popen[bytes], chance: random.Random) -> psutil.Process:
    """A process that builds a node."""
    while True:
        assert driver.poll() is None
        busy = []
        for one in psutil.Process(driver.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if one.cmdline()[:1] and one.cmdline()[0].startswith("ray::ImplicitFunc"):
                    busy.append(one)
        if busy:
            return chance.choice(busy)
        time.sleep(0.05)
