"""Leases in a bucket, as two machines with a mirror each see them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from dwp_sweep.store.heartbeat import STALE_S, Heartbeat, run_name
from dwp_sweep.store.lease import Leases, RunWatch, holder_of, holds
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record

pytestmark = pytest.mark.slow  # a server is started
On = Callable[[str], Store]
KEY = "0123456789abcdef0123"


def test_a_node_that_another_machines_run_has_is_refused_until_it_is_given_back(on: On) -> None:
    here, there = on("here"), on("there")
    with Heartbeat(here, "toy", "one"), Heartbeat(there, "toy", "two"):
        one, two = Leases(here, "toy", "one"), Leases(there, "toy", "two")
        assert one.take("source", KEY) is None and one.take("source", KEY) is None
        refused = two.take("source", KEY)
        assert refused is not None and refused.run == "one"
        one.close()
        assert two.take("source", KEY) is None
        assert holds(here, "source", KEY, "two") and not holds(here, "source", KEY, "one")


def test_a_run_that_does_not_change_its_file_any_more_is_followed(on: On) -> None:
    now = [0.0]
    here, there = on("here"), on("there")
    Leases(there, "toy", "dead").take("source", KEY)
    facts = {"sweep": "toy", "run": "dead", "host": "another-machine", "pid": 1, "started_ms": 5}
    there.files.write(run_name("toy", "dead"), json.dumps(facts))
    one = Leases(here, "toy", "one", RunWatch(here, clock=lambda: now[0]))
    assert one.take("source", KEY) is not None
    now[0] += STALE_S + 1
    assert one.take("source", KEY) is None and holds(there, "source", KEY, "one")


def test_of_many_that_ask_at_once_one_gets_it(on: On) -> None:
    stores = [on(f"machine{number}") for number in range(6)]
    barrier, got = threading.Barrier(len(stores)), list[str]()

    def ask(number: int) -> None:
        leases = Leases(stores[number], "toy", f"run{number}")
        barrier.wait()
        if leases.take("source", KEY) is None:
            got.append(f"run{number}")

    with ExitStack() as stack:
        for number, store in enumerate(stores):
            stack.enter_context(Heartbeat(store, "toy", f"run{number}"))
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(stores))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1 and holds(stores[0], "source", KEY, got[0])


def test_publishing_a_node_takes_its_lease_along(on: On) -> None:
    here, there = on("here"), on("there")
    with Heartbeat(here, "toy", "one"):
        one = Leases(here, "toy", "one")
        one.take("source", KEY)
        here.publish(here.new_out_dir("source", KEY), Record(KEY, "source", "done", {}))
        assert holder_of(there, "source", KEY) is None
        one.release("source", KEY)
    assert not there.files.names(f"work/source/{KEY}")
