from __future__ import annotations

import itertools

import pytest

from dwp_sweep.tracking.write import outage

URI = "http://127.0.0.1:9"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1_000.0]
    monkeypatch.setattr(outage.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(outage, "_outages", {})
    monkeypatch.setattr(outage, "_answered", set())
    return clock


def asked_at(now: list[float], took_s: float, n: int) -> list[float]:
    """When a client that fails every time asks, to the second."""
    found = []
    while len(found) < n:
        if outage.may_ask(URI):
            found.append(now[0] - 1_000)
            now[0] += took_s
            outage.failed(URI, "refused", took_s)
        now[0] += 1
    return found


def test_a_server_that_refuses_is_asked_again_after_pauses_that_double_up_to_two_minutes(
    now: list[float],
) -> None:
    times = asked_at(now, 0.0, 7)
    assert [b - a for a, b in itertools.pairwise(times)] == [15, 30, 60, 120, 120, 120]


def test_a_server_that_hangs_costs_a_tenth_of_the_time_at_most(now: list[float]) -> None:
    times = asked_at(now, 21.0, 20)
    assert 20 * 21.0 / (times[-1] + 21.0 + 210.0) <= 1 / 10


def test_an_outage_has_its_first_failure_as_its_start_and_ends_with_an_answer(now: list[float]) -> None:
    assert outage.failed(URI, "one", 0.0)
    first = outage.outage_of(URI)
    assert first is not None
    since_ms = first.since_ms
    assert not outage.failed(URI, "two", 0.0)
    assert (first.since_ms, first.problem) == (since_ms, "two")
    outage.answered(URI)
    assert outage.outage_of(URI) is None and outage.may_ask(URI)


def test_what_the_driver_met_counts_until_this_process_has_had_an_answer(now: list[float]) -> None:
    outage.was_away(URI, 5, "refused")
    assert not outage.may_ask(URI)
    now[0] += 15
    assert outage.may_ask(URI)
    outage.answered(URI)
    outage.was_away(URI, 5, "refused")
    assert outage.may_ask(URI) and outage.outage_of(URI) is None
