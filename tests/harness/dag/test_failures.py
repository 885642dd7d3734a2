"""What a run makes of failures, on paper."""

from __future__ import annotations

import pytest

from dwp_sweep.config.sections import FailuresConfig, RetriesConfig
from dwp_sweep.errors import InputError
from dwp_sweep.harness.dag.failures import FailureAccount, FailureKind, Place
from dwp_sweep.strict import parse

A, B = Place("machine a", "host a"), Place("machine b", "host b")
BOTH = ("machine a", "machine b")


def account(is_search: bool = False, **settings: object) -> FailureAccount:
    return FailureAccount(parse(FailuresConfig, settings, "test"), is_search)


def fail(failures: FailureAccount, place: Place, n: int, kind: FailureKind = "error") -> list[bool]:
    return [failures.attempt_failed(kind, place) for _ in range(n)]


@pytest.mark.parametrize(
    ("kind", "n_tried"),
    [("lost", 2), ("memory", 2), ("gpu_memory", 0), ("stalled", 2), ("error", 0)],
)
def test_each_kind_has_a_number_of_retries_of_its_own(kind: FailureKind, n_tried: int) -> None:
    failures = account()
    assert [failures.may_retry("k", kind) for _ in range(4)] == [n < n_tried for n in range(4)]
    assert [account().may_retry(f"{n}", "lost") for n in range(4)] == [True] * 4, "nodes count alone"


def test_a_preemption_costs_no_retry_and_is_no_failure_of_a_host() -> None:
    failures = account()
    assert all(failures.may_retry("k", "preempted") for _ in range(99))
    assert not failures.attempt_failed("preempted", A) and not failures.by_host()


def test_losses_count_from_the_last_epoch_on() -> None:
    failures = account(retries={"lost": 1})
    assert [failures.may_retry("k", "lost", epoch) for epoch in (1, 2, 3, 3)] == [True, True, True, False]


def test_a_host_is_avoided_after_some_failures_of_one_kind_without_a_success() -> None:
    failures = account(per_host=3)
    assert fail(failures, A, 2) == [False, False]
    assert fail(failures, A, 1, "memory") == [False], "of another kind"
    assert not failures.avoided(BOTH)
    assert fail(failures, A, 2) == [True, False], "said once"
    assert failures.avoided(BOTH) == ("machine a",)
    assert [host.is_avoided for host in failures.by_host()] == [False], "there may be no other host"
    fail(failures, B, 1)
    assert [(host.host, host.is_avoided) for host in failures.by_host()] == [
        ("host a", True),
        ("host b", False),
    ]


def test_a_success_clears_its_host_and_no_other() -> None:
    failures = account(per_host=3)
    fail(failures, A, 3)
    failures.succeeded("target", B)
    assert failures.avoided(BOTH)
    failures.succeeded("target", A)
    assert not failures.avoided(BOTH) and not failures.has_bad_places
    assert fail(failures, A, 2) == [False, False]
    assert failures.by_host()[0].counts == {"error": 5}, "what failed before is still told"


def test_the_last_machines_are_never_avoided() -> None:
    failures = account(per_host=1)
    fail(failures, A, 1)
    assert failures.avoided(["machine a"]) == ()
    fail(failures, B, 1)
    assert failures.avoided(BOTH) == ()
    assert failures.avoided([*BOTH, "machine c"]) == BOTH


def test_what_failed_at_an_unknown_place_makes_no_machine_avoided() -> None:
    failures = account(per_host=1)
    assert fail(failures, Place(), 3) == [False] * 3
    assert failures.avoided(BOTH) == ()
    assert failures.by_host()[0].text == "unknown host: 3 x error in the node"


def test_failures_in_a_row_are_those_of_one_stage_with_no_success_between() -> None:
    failures = account(in_a_row=3)
    assert not failures.failed("target") and not failures.failed("target")
    failures.succeeded("prior", A)
    failures.failed("prior")
    assert failures.failed("target") == "3 nodes of stage target failed in a row (failures.in_a_row = 3)"
    failures = account(in_a_row=3)
    for _ in range(5):
        assert not failures.failed("target") and not failures.failed("target")
        failures.succeeded("target", A)


def test_a_search_ends_after_ten_failures_in_a_row_and_a_grid_goes_on() -> None:
    search, grid = account(is_search=True), account()
    assert [bool(search.failed("target")) for _ in range(10)] == [False] * 9 + [True]
    assert not any(grid.failed("target") for _ in range(100))


def test_so_many_failed_nodes_end_a_run() -> None:
    failures = account(max_failed=2)
    assert not failures.failed("source")
    assert failures.failed("target") == "failures.max_failed = 2 is reached"


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"max_failed": 0}, "failures.max_failed = 0"),
        ({"in_a_row": 0}, "failures.in_a_row = 0"),
        ({"per_host": -1}, "failures.per_host = -1"),
        ({"stalled_epochs": 0.5}, "failures.stalled_epochs = 0.5"),
        ({"stalled_minutes": 0}, "failures.stalled_minutes = 0"),
        ({"retries": {"lost": -1}}, "failures.retries.lost = -1"),
        ({"retries": {"last": 1}}, "failures.retries.last"),
    ],
)
def test_bad_settings_are_told_by_their_dotted_key(settings: dict[str, object], key: str) -> None:
    with pytest.raises(InputError, match=key.replace(".", r"\.")):
        parse(FailuresConfig, settings, "space.yaml", "failures")


def test_retries_of_lost_workers_follow_the_files_older_key() -> None:
    assert RetriesConfig().lost is None
