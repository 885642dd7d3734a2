"""One driver of a search at a time: the next one is refused, or waits for the end and takes over."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.harness import taking_over
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.harness.taking_over import at_work, wait_for_driver
from dwp_sweep.store.heartbeat import Heartbeat, run_name
from dwp_sweep.store.lease import RunWatch
from dwp_sweep.store.local.store import LocalStore
from tests.harness.test_run import Witness
from tests.harness.toy_search import SEARCH_STAGES, search_space, search_sweep
from tests.harness.toy_stages import toy_node, toy_sweep

SEARCH = search_sweep(search_space(n_trials=2))
GRID = toy_sweep(toy_node("target", "one"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr(taking_over, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(LocalStore(tmp_path).files.__class__, "look_every_s", 0.02)
    monkeypatch.setattr(taking_over, "_TURN_S", 0.1)
    return LocalStore(tmp_path / "storage")


@contextmanager
def working(store: LocalStore, name: str, waits: bool = True, sweep: Any = SEARCH) -> Iterator[bool]:
    with at_work(sweep, store, name, dict, RunWatch(store), waits) as has_waited:
        yield has_waited


def test_a_second_driver_of_a_search_is_refused_and_told_of_the_option(store: LocalStore) -> None:
    with working(store, "a") as has_waited:
        assert not has_waited
        with (
            pytest.raises(InputError, match="runs this search already") as refused,
            working(store, "b", False),
        ):
            pass
    assert "--wait-for-driver" in str(refused.value)
    with working(store, "b", waits=False) as has_waited:
        assert not has_waited


def test_drivers_of_a_grid_do_not_wait(store: LocalStore) -> None:
    with working(store, "a", sweep=GRID), working(store, "b", sweep=GRID) as has_waited:
        assert not has_waited
        wait_for_driver(GRID, store, RunWatch(store), pytest.fail)


def test_many_drivers_that_wait_work_one_after_the_other(store: LocalStore) -> None:
    inside, most, order = 0, 0, []
    lock = threading.Lock()

    def drive(name: str) -> None:
        nonlocal inside, most
        with working(store, name):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with lock:
                inside -= 1
                order.append(name)

    drivers = [threading.Thread(target=drive, args=(name,)) for name in "abcd"]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(120)
    assert most == 1 and sorted(order) == list("abcd")


def test_a_driver_that_drains_hands_over_at_once_and_one_is_told_whom_it_waits_for(store: LocalStore) -> None:
    said: list[str] = []
    ended = threading.Event()

    def waits() -> None:
        wait_for_driver(SEARCH, store, RunWatch(store), said.append)
        ended.set()

    with Heartbeat(store, SEARCH.name, "old"):
        threading.Thread(target=waits, daemon=True).start()
        while not said:
            time.sleep(0.01)
        assert not ended.wait(0.3)
    assert ended.wait(60)
    assert len(said) == 1 and "waiting until it has ended or is dead" in said[0]


def test_a_dead_driver_of_another_machine_is_waited_for_by_the_own_clock_alone(store: LocalStore) -> None:
    values = {"sweep": SEARCH.name, "run": "old", "host": "elsewhere", "pid": 1, "started_ms": 1, "beat": 7}
    name = run_name(SEARCH.name, "old")
    store.files.write(name, json.dumps(values))
    clock = [0.0]
    watch = RunWatch(store, ttl_s=120.0, clock=lambda: clock[0])
    ended = threading.Event()

    def waits() -> None:
        wait_for_driver(SEARCH, store, watch)
        ended.set()

    threading.Thread(target=waits, daemon=True).start()
    clock[0] = 119.0
    assert not ended.wait(0.2)
    store.files.write(name, json.dumps(values | {"beat": 8}))  # it lives
    assert not ended.wait(0.2)
    clock[0] = 119.0 + 121.0
    assert ended.wait(60)


SCRIPT = """
import sys
from pathlib import Path
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.local.store import LocalStore
from tests.harness.toy_search import SEARCH_STAGES, search_space, search_sweep
sweep = search_sweep(search_space(n_trials=5), sys.argv[2], epoch_s=0.1)
outcome = run_sweep(sweep, LocalStore(Path(sys.argv[1])), options=RunOptions(here=True), stages=SEARCH_STAGES)
sys.exit(outcome.exit_code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR1])
def test_a_preempted_search_is_taken_up_by_the_driver_that_waits(
    tmp_path: Path, number: signal.Signals
) -> None:
    root, log = tmp_path / "storage", tmp_path / "log.txt"
    old = subprocess.Popen([sys.executable, "-c", SCRIPT, str(root), str(log)])
    while not log.exists() or log.read_text().count("target") < 2:
        assert old.poll() is None
        time.sleep(0.05)
    timer = threading.Timer(1.0, old.send_signal, [number])
    timer.start()
    sweep = search_sweep(search_space(n_trials=5), log, epoch_s=0.1)
    outcome = run_sweep(
        sweep, LocalStore(root), options=RunOptions(here=True, wait_for_driver=True),
        progress=Witness(), stages=SEARCH_STAGES,
    )  # fmt: skip
    assert old.wait(60) == (130 if number == signal.SIGUSR1 else -signal.SIGKILL)
    assert (outcome.exit_code, outcome.counts["waiting"], outcome.counts["failed"]) == (0, 0, 0)
    assert outcome.counts["done"] + outcome.counts["cached"] >= 5 and outcome.counts["done"] >= 1
    begun = log.read_text().splitlines()
    # The node that the signal met is begun once more, no other one.
    assert sum("target" in line for line in begun) <= 6 and len({*begun} - {"source 0", "source 1"}) == 5
