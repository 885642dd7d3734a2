"""Leases on a real folder; only the observer's clock is the test's."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dwp_sweep.store.heartbeat import STALE_S, Heartbeat, live_runs
from dwp_sweep.store.lease import GRACE_S, Holder, Leases, RunWatch, holder_of, holds
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record

KEY = "0123456789abcdef0123"


class Clock:
    """Seconds of an observer, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def presences() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def leases(store: Store, run: str, clock: Clock | None = None) -> Leases:
    return Leases(store, "toy", run, RunWatch(store, clock=clock or Clock()))


def elsewhere(store: Store, run: str, beat: int = 1) -> Path:
    """The file of a run on another machine, whose clock is 40 years behind."""
    path = store.sweep_dir("toy") / f"run-{run}.json"
    values = {"sweep": "toy", "run": run, "host": "another-machine", "pid": 1, "started_ms": 5, "beat": beat}
    path.write_text(json.dumps(values))
    os.utime(path, (500_000_000, 500_000_000))
    return path


def publish(store: Store) -> None:
    store.publish(store.new_out_dir("source", KEY), Record(KEY, "source", "done", {}))


def test_a_node_that_a_live_run_has_is_refused_and_its_own_run_gets_it_again(
    store: Store, presences: ExitStack
) -> None:
    presences.enter_context(Heartbeat(store, "toy", "one"))
    one, other = leases(store, "one"), leases(store, "other")
    assert one.take("source", KEY) is None
    assert one.take("source", KEY) is None, "a retry within a run waited for itself"
    refused = other.take("source", KEY)
    assert refused is not None and (refused.run, refused.sweep) == ("one", "toy")
    assert other.other("source", KEY) == refused and one.other("source", KEY) is None
    assert holds(store, "source", KEY, "one") and not holds(store, "source", KEY, "other")


def test_a_lease_that_is_given_back_can_be_taken_by_another_run(store: Store, presences: ExitStack) -> None:
    presences.enter_context(Heartbeat(store, "toy", "one"))
    one, other = leases(store, "one"), leases(store, "other")
    one.take("source", KEY)
    one.close()
    assert holder_of(store, "source", KEY) is None and other.other("source", KEY) is None
    assert other.take("source", KEY) is None
    one.release("source", KEY)  # of what it no longer has
    assert holds(store, "source", KEY, "other")


def test_the_lease_of_a_run_that_is_not_there_any_more_is_taken_at_once(store: Store) -> None:
    leases(store, "gone").take("source", KEY)
    one = leases(store, "one")
    assert one.take("source", KEY) is None and holds(store, "source", KEY, "one")
    assert [path.name for path in store.work_dir("source", KEY).iterdir()] == ["lease-2.json"]


def test_a_run_elsewhere_lives_while_its_file_changes_whatever_the_clocks_say(
    store: Store, clock: Clock
) -> None:
    leases(store, "far").take("source", KEY)
    watch = RunWatch(store, clock=clock)
    for beat in range(1, 5):
        elsewhere(store, "far", beat)
        assert watch.is_alive(Holder("far", "toy"))
        clock.now_s += STALE_S - 1
        assert watch.is_alive(Holder("far", "toy"))
    clock.now_s += 2
    assert not watch.is_alive(Holder("far", "toy"))


def test_touching_a_dead_runs_file_does_not_bring_it_back(store: Store, clock: Clock) -> None:
    path = elsewhere(store, "far")
    watch = RunWatch(store, clock=clock)
    clock.now_s += STALE_S + 1
    os.utime(path)
    assert not watch.is_alive(Holder("far", "toy"))


def test_a_driver_that_was_killed_here_is_followed_after_a_moments_grace(store: Store, clock: Clock) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    path = elsewhere(store, "killed")
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "host": os.uname().nodename, "pid": process.pid,
                                "started_ms": 4_000_000_000_000}))  # fmt: skip
    watch = RunWatch(store, clock=clock)
    assert watch.is_alive(Holder("killed", "toy"))
    process.kill()
    while process.poll() is None:
        assert watch.is_alive(Holder("killed", "toy"))  # it goes on as a zombie until it is waited for
    assert watch.is_alive(Holder("killed", "toy"))
    clock.now_s += GRACE_S + 1
    assert not watch.is_alive(Holder("killed", "toy"))


def test_a_process_is_known_by_its_start_since_boot_so_that_a_clock_that_moved_kills_no_run(
    store: Store,
) -> None:
    with Heartbeat(store, "toy", "now") as presence:
        values = json.loads(presence.path.read_text())
        if not values["process"]:
            pytest.skip("no /proc here: the start of a process is known by the wall clock alone")
        moved = presence.path.with_name("run-moved.json")
        # As if the clock had been put forward by an hour since the run wrote when it began, or back.
        for hours in (-1, 1):
            started_ms = values["started_ms"] + hours * 3_600_000
            moved.write_text(json.dumps({**values, "run": "moved", "started_ms": started_ms}))
            assert {run.run for run in live_runs(store)} == {"now", "moved"}
        moved.write_text(json.dumps({**values, "run": "moved", "process": "another boot/1"}))
        assert [run.run for run in live_runs(store)] == ["now"]


def test_of_many_that_see_the_same_run_die_one_follows_it(store: Store, presences: ExitStack) -> None:
    names = [f"run{place}" for place in range(8)]
    for name in names:
        presences.enter_context(Heartbeat(store, "toy", name))
    for round_ in range(20):
        leases(store, "dead").take("source", f"{round_:020d}")
    gate, won = threading.Barrier(len(names)), []

    def follow(name: str) -> None:
        mine = leases(store, name)
        for round_ in range(20):
            gate.wait()
            if mine.take("source", f"{round_:020d}") is None:
                won.append((round_, name))

    threads = [threading.Thread(target=follow, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [round_ for round_, _ in sorted(won)] == list(range(20))
    assert all(holds(store, "source", f"{round_:020d}", name) for round_, name in won)


def test_a_run_that_was_deposed_sees_it_and_does_not_give_back_what_it_lost(
    store: Store, clock: Clock
) -> None:
    elsewhere(store, "frozen")
    frozen, next_ = leases(store, "frozen"), leases(store, "next", clock)
    frozen.take("source", KEY)
    assert next_.take("source", KEY) is not None
    clock.now_s += STALE_S + 1
    assert next_.take("source", KEY) is None
    assert not holds(store, "source", KEY, "frozen")
    frozen.close()
    assert holds(store, "source", KEY, "next")


def test_publishing_ends_a_lease_and_leaves_nothing(store: Store) -> None:
    one = leases(store, "one")
    one.take("source", KEY)
    publish(store)
    assert holder_of(store, "source", KEY) is None
    late = leases(store, "late")
    assert late.take("source", KEY) is None
    late.release("source", KEY)
    assert not (store.root / "work" / "source" / KEY).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": "../../x", "sweep": "toy", "host": "h"}'])
def test_a_lease_that_names_nobody_stops_nobody(store: Store, content: str) -> None:
    (store.work_dir("source", KEY) / "lease-3.json").write_text(content)
    assert leases(store, "one").take("source", KEY) is None
    assert [path.name for path in store.work_dir("source", KEY).iterdir()] == ["lease-4.json"]


def test_a_run_in_a_container_beside_this_one_lives_while_its_file_changes(
    store: Store, clock: Clock
) -> None:
    path = elsewhere(store, "beside")
    values = json.loads(path.read_text()) | {
        "host": os.uname().nodename,
        "space": "pid:[1]",
        "pid": 2**22 - 1,
    }
    path.write_text(json.dumps(values))
    watch = RunWatch(store, clock=clock)
    clock.now_s += GRACE_S + 1
    assert watch.is_alive(Holder("beside", "toy")), "its process is not to be seen from here"
    clock.now_s += STALE_S
    assert not watch.is_alive(Holder("beside", "toy"))


def test_of_two_runs_one_gets_a_lease_where_the_file_system_has_no_links(
    store: Store, presences: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr("os.link", refuse)
    for name in ("one", "two"):
        presences.enter_context(Heartbeat(store, "toy", name))
    assert leases(store, "one").take("source", KEY) is None
    refused = leases(store, "two").take("source", KEY)
    assert refused is not None and refused.run == "one"
