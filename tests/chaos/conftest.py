"""Breaking sweeps at seeded moments: ``DWP_CHAOS_SEED`` chooses them, ``DWP_CHAOS_ROUNDS`` says how many.

An undisturbed run is made once a session; every broken one must leave the same.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dwp_sweep.tracking.write.parent import open_tracking
from tests.chaos.account import Account, account_of, assert_same, check_log
from tests.chaos.stages import LOG, Line, read_log

SEED = int(os.environ.get("DWP_CHAOS_SEED", "0"))
ROUNDS = int(os.environ.get("DWP_CHAOS_ROUNDS", "1"))
N_LINES = 170
"""About as many lines as the log of an undisturbed run has: 11 starts and ends, 73 epochs begun and kept."""
_PATIENCE_S = 400.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "chance" in metafunc.fixturenames:
        metafunc.parametrize("chance", [SEED + n for n in range(ROUNDS)], indirect=True, ids="seed{}".format)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Draws the moments of one test; the same for the same seed."""
    return random.Random(f"{request.param} {request.node.originalname}")


@dataclass
class Site:
    """A storage with drivers at work on it.

    Attributes:
        folder: Holds all of it.
        environment: Of its drivers.
        drivers: All that were started.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    root: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.folder / "storage"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def output(self) -> str:
        """What all drivers have printed."""
        paths = sorted(self.folder.glob("driver-*.txt"), key=lambda path: path.stat().st_mtime_ns)
        return "\n".join(path.read_text() for path in paths)

    def start(self, *options: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A driver in a process of its own."""
        command = [sys.executable, "-m", "tests.chaos.driver", str(self.root), *options]
        environment = os.environ | self.environment | {LOG: str(self.log)} | (env or {})
        with (self.folder / f"driver-{len(self.drivers)}.txt").open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self.drivers.append(process)
        return process

    def end(self, driver: subprocess.Popen[bytes], code: int | None = 0) -> None:
        """Wait for a driver's end."""
        driver.wait(_PATIENCE_S)
        assert code is None or driver.returncode == code, self.output[-6_000:]

    def run(self, *options: str, env: Mapping[str, str] | None = None, code: int | None = 0) -> None:
        """A driver from its start to its end."""
        self.end(self.start(*options, env=env), code)

    def wait_for(self, is_there: Callable[[list[Line]], bool]) -> list[Line]:
        """Until the stages have come so far."""
        until_s = time.monotonic() + _PATIENCE_S
        while not is_there(lines := read_log(self.log)):
            assert time.monotonic() < until_s, self.output[-6_000:]
            assert any(driver.poll() is None for driver in self.drivers), self.output[-6_000:]
            time.sleep(0.02)
        return lines

    def wait_until(self, chance: random.Random, first: float = 0.05, last: float = 0.8) -> list[Line]:
        """Until a moment that chance draws from this part of the sweep."""
        n_lines = round(chance.uniform(first, last) * N_LINES)
        lines = self.wait_for(lambda lines: len(lines) >= n_lines)
        time.sleep(chance.uniform(0, 0.15))
        return lines

    def check(self, calm: Account, uri: str | None = None, rebuilt: frozenset[str] = frozenset()) -> None:
        """Everything is there, once, and as if nothing had happened."""
        check_log(self.log, self.root, rebuilt)
        assert_same(account_of(self.root, uri), calm)

    def close(self) -> None:
        """End what a failed test left."""
        for driver in self.drivers:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without content: making them costs seconds."""
    folder = tmp_path_factory.mktemp("database")
    tracking = open_tracking(f"sqlite:///{folder}/mlflow.db", folder, "unused", {})
    assert tracking.online, tracking.problem
    return folder / "mlflow.db"


def make_site(folder: Path, database: Path) -> Site:
    """A storage with an empty MLflow in it."""
    made = Site(folder)
    made.root.mkdir(parents=True)
    shutil.copy(database, made.root / "mlflow.db")
    return made


@pytest.fixture
def site(tmp_path: Path, empty_database: Path) -> Iterator[Site]:
    made = make_site(tmp_path, empty_database)
    yield made
    made.close()


@dataclass(frozen=True)
class Calm:
    """The undisturbed run."""

    site: Site
    account: Account


@pytest.fixture(scope="session")
def calm_run(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Calm:
    site = make_site(tmp_path_factory.mktemp("calm"), empty_database)
    site.run()
    check_log(site.log, site.root)
    return Calm(site, account_of(site.root))


@pytest.fixture(scope="session")
def calm(calm_run: Calm) -> Account:
    """What the undisturbed run left."""
    return calm_run.account
