"""The frame of the benches: turns, medians, ratios, goals. No test looks at how long anything takes."""

from __future__ import annotations

import pytest

from dwp_sweep.bench.frame import Row, Setting, Version, compare, machine, time_in_turn


def test_versions_take_turns_and_every_round_begins_with_another_one() -> None:
    calls: list[str] = []
    versions = [Version(name, "", lambda name=name: calls.append(name)) for name in "abc"]  # type: ignore[misc]
    spent = time_in_turn(versions, Setting(), 3)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert list(spent) == ["a", "b", "c"]
    assert all(one.wall_s >= 0 and one.cpu_s >= 0 for one in spent.values())


def test_the_baseline_has_ratio_one_and_rows_keep_what_their_version_says() -> None:
    versions = [
        Version("old", "as it was", lambda: sum(range(1000))),
        Version("new", "as it is", lambda: None, goal=0.5, extra={"error": 0.25}),
    ]
    for baseline in ("old", "new"):
        rows = {row.name: row for row in compare(versions, Setting(), 1, baseline)}
        assert rows[baseline].ratio == 1
        assert {row.baseline for row in rows.values()} == {baseline}
    assert rows["new"].goal == 0.5 and rows["new"].extra["error"] == 0.25
    assert set(rows["old"].extra) == {"cpu_s"}


def test_the_first_version_is_the_baseline_unless_another_is_named() -> None:
    versions = [Version(name, "", lambda: None) for name in ("first", "second")]
    assert [row.baseline for row in compare(versions, Setting(), 1)] == ["first", "first"]
    with pytest.raises(KeyError):
        compare(versions, Setting(), 1, "third")


@pytest.mark.parametrize(
    ("ratio", "goal", "met"), [(0.1, 0.2, True), (0.2, 0.2, True), (0.3, 0.2, False), (None, 1.0, None)]
)
def test_a_goal_is_met_at_or_below_it(ratio: float | None, goal: float, met: bool | None) -> None:
    assert Row("x", "", 1.0, "y", ratio, goal).met is met
    assert Row("x", "", 1.0, "y", ratio).met is None


def test_the_tiny_scale_repeats_nothing_and_tells_what_it_does() -> None:
    told: list[str] = []
    calls: list[int] = []
    setting = Setting(quick=True, tell=told.append)
    compare([Version("a", "", lambda: calls.append(1))], setting, 9)
    assert len(calls) == 2  # one warms up
    assert told == ["a: warming up", "a: round 1 of 1"]


def test_the_facts_of_the_machine_are_complete() -> None:
    facts = machine(Setting())
    assert set(facts) == {"torch", "device", "threads", "cores", "cpu_capability"}
    assert facts["device"] == "cpu" and all(facts.values())
