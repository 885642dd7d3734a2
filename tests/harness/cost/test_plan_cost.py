"""Budgets, schedules and estimates over toy nodes: pure bookkeeping, nothing runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dwp_sweep.cli.plan import show_cost
from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import BudgetConfig
from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import Sweep, build_sweep
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.cost.durations import Durations, PastRuns
from dwp_sweep.harness.cost.plan_cost import plan_cost
from dwp_sweep.harness.cost.simulation import Limit, list_schedule
from dwp_sweep.harness.cost.step_rates import keep_rates
from dwp_sweep.harness.dag.budget import (
    Spent,
    beyond_trials,
    exhausted,
    forbids_start,
    hours_spent,
    limit_reached,
    without_effect,
)
from dwp_sweep.harness.dag.ledger import Event, Ledger
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.dag.resources import Resources
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.harness.view.progress import LineProgress
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.strict import parse
from tests.harness.toy_stages import STAGES, demo_sweep, toy_node, toy_sweep

ONE = {stage: Resources(1.0, 0.0) for stage in STAGES}
SOURCE = toy_node("source", "source")
OTHER = toy_node("source", "other")
TUNED = toy_node("target", "tuned", [SOURCE])
FREE = toy_node("target", "free")
FAR = toy_node("target", "far", [OTHER])
SWEEP = toy_sweep(SOURCE, OTHER, TUNED, FREE, FAR)


def unlimited(wall_s: float, seconds: Mapping[str, float]) -> str:
    return ""


def limit_of(resources: Mapping[str, Resources], **limits: float | str) -> Limit:
    budget = BudgetConfig(**limits)  # type: ignore[arg-type]
    return lambda wall_s, seconds: limit_reached(budget, hours_spent(seconds, resources, wall_s))


def schedule(nodes: list[Node], seconds: float, n_slots: int, limit: Limit = unlimited) -> tuple[float, int]:
    found = list_schedule(nodes, {n.key: seconds for n in nodes}, ONE, Resources(float(n_slots), 0.0), limit)
    return found.end_s, len(found.starts)


def test_one_slot_takes_the_sum_and_many_take_the_critical_path() -> None:
    nodes = list(SWEEP.nodes.values())
    assert schedule(nodes, 2.0, 1) == (10.0, 5)
    assert schedule(nodes, 2.0, 9) == (4.0, 5)


def test_a_schedule_is_never_below_either_bound_nor_above_twice_their_larger() -> None:
    nodes = list(demo_sweep().nodes.values())
    seconds = {node.key: 1.0 + place % 3 for place, node in enumerate(nodes)}
    for n_slots in (1, 2, 3, 8):
        found = list_schedule(nodes, seconds, ONE, Resources(float(n_slots), 0.0))
        bound = max(found.critical_path_s, sum(seconds.values()) / n_slots)
        assert bound <= found.end_s <= 2 * bound  # Graham's bound for list scheduling
        for node in nodes:
            starts = found.starts[node.key]
            assert all(starts >= found.starts[key] + seconds[key] for _, key in node.parents)


def test_a_pool_of_hours_lets_nodes_start_until_it_is_spent() -> None:
    nodes = [toy_node("target", f"t{i}") for i in range(10)]
    half_gpu = {"target": Resources(1.0, 0.5)}
    assert schedule(nodes, 3600.0, 2, limit_of(ONE, cpu_hours=4.0)) == (7200.0, 4)
    assert schedule(nodes, 3600.0, 2, limit_of(ONE, wall="3600s")) == (3600.0, 2)
    assert schedule(nodes, 3600.0, 2, limit_of(ONE, wall="3601s")) == (7200.0, 4)
    assert schedule(nodes, 3600.0, 2, limit_of(half_gpu, gpu_hours=1.0)) == (3600.0, 2)


@pytest.mark.parametrize(
    ("limits", "spent", "key"),
    [
        ({"gpu_hours": 1.0}, Spent(9.0, 1.0, 9e9), "budget.gpu_hours"),
        ({"cpu_hours": 1.0}, Spent(1.0, 0.0, 0.0), "budget.cpu_hours"),
        ({"wall": "20m"}, Spent(0.0, 0.0, 1200.0), "budget.wall"),
        ({"gpu_hours": 1.0, "cpu_hours": 2.0, "wall": "2h", "trials": 1}, Spent(1.9, 0.9, 7199.0), ""),
        ({}, Spent(1e9, 1e9, 1e9), ""),
    ],
)
def test_a_limit_is_reached_when_as_much_is_spent(limits: dict[str, object], spent: Spent, key: str) -> None:
    assert exhausted(BudgetConfig(**limits), spent).partition(" ")[0] == key  # type: ignore[arg-type]


def test_gpu_hours_that_nobody_asks_for_are_told_to_limit_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = BudgetConfig(gpu_hours=1.0)
    words = "no stage asks for a GPU: budget.gpu_hours limits nothing here, budget.cpu_hours would"
    assert without_effect(limits, ONE) == words
    assert not without_effect(limits, {**ONE, "target": Resources(1.0, 0.5)})
    assert not without_effect(BudgetConfig(cpu_hours=1.0), ONE)
    plan = make_plan(replace(SWEEP, budget=limits), LocalStore(tmp_path))
    monkeypatch.setattr("dwp_sweep.harness.cost.plan_cost.this_machine", lambda: Resources(2.0, 0.0))
    assert plan_cost(plan, LocalStore(tmp_path)).note == words
    console = Console(file=StringIO(), width=200)
    show_cost(plan_cost(plan, LocalStore(tmp_path)), console)
    assert isinstance(console.file, StringIO) and words in console.file.getvalue()
    monkeypatch.setattr("dwp_sweep.harness.tune.executor.ray_session", lambda address: nullcontext(False))
    monkeypatch.setattr("dwp_sweep.harness.cluster.ray_session.machines", lambda: [Resources(2.0, 0.0)])
    monkeypatch.setattr("dwp_sweep.harness.tune.executor.other_machines", list)
    monkeypatch.setattr("dwp_sweep.harness.tune.executor.TuneExecutor.drain", lambda *arguments: None)
    lines = LineProgress(Console(file=StringIO(), width=200))
    run_sweep(plan.sweep, LocalStore(tmp_path), stages=STAGES, progress=lines)
    assert isinstance(lines._console.file, StringIO) and words in lines._console.file.getvalue()


@pytest.mark.parametrize("limits", [{"gpu_hours": 0.0}, {"cpu_hours": 0.0}, {"wall": "0s"}, {"trials": 0}])
def test_a_budget_of_zero_starts_nothing_and_ends_with_3(
    limits: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dwp_sweep.harness.tune.executor.ray_session", lambda address: pytest.fail("Ray was asked for")
    )
    budget = BudgetConfig(**limits)  # type: ignore[arg-type]
    assert forbids_start(budget)
    outcome = run_sweep(replace(SWEEP, budget=budget), LocalStore(tmp_path), stages=STAGES)
    assert (outcome.exit_code, outcome.counts["done"], outcome.counts["waiting"]) == (3, 0, 5)
    assert outcome.spent.startswith("budget.")


def test_a_budget_of_zero_is_no_obstacle_where_all_is_cached(tmp_path: Path) -> None:
    run_node(FREE, STAGES["target"], LocalStore(tmp_path))
    sweep = replace(toy_sweep(FREE), budget=BudgetConfig(trials=0))
    assert run_sweep(sweep, LocalStore(tmp_path), stages=STAGES).exit_code == 0


@pytest.mark.parametrize("text", ["gpu_hours: -1", "cpu_hours: -0.5", "trials: -3"])
def test_a_negative_budget_is_bad_input_that_names_its_key(text: str) -> None:
    name, value = text.split(": ")
    with pytest.raises(Exception, match=rf"budget\.{name}"):
        parse(BudgetConfig, {name: float(value) if "." in value else int(value)}, "file", "budget")


def test_trials_are_the_first_missing_targets_with_what_they_need(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    plan = make_plan(SWEEP, store)
    assert beyond_trials(plan, 1) == {OTHER.key, FREE.key, FAR.key}
    assert beyond_trials(plan, 3) == beyond_trials(plan, None) == frozenset()
    run_node(SOURCE, STAGES["source"], store)
    run_node(TUNED, STAGES["target"], store)
    assert beyond_trials(make_plan(SWEEP, store), 1) == {OTHER.key, FAR.key}


def board_of(sweep: Sweep, tmp_path: Path, events: list[Event], held: frozenset[str] = frozenset()) -> Ledger:
    return Ledger(make_plan(sweep, LocalStore(tmp_path)), Durations(), events.append, held)


def test_held_nodes_are_not_handed_out_and_do_not_keep_the_run_open(tmp_path: Path) -> None:
    ledger = board_of(SWEEP, tmp_path, [], frozenset({OTHER.key, FREE.key, FAR.key}))
    assert ledger.board.ready() == [SOURCE]
    ledger.published(SOURCE, 1.0, {})
    assert ledger.board.ready() == [TUNED]
    ledger.published(TUNED, 1.0, {})
    assert ledger.is_finished


def test_a_spent_budget_hands_out_nothing_more_and_waits_for_what_runs(tmp_path: Path) -> None:
    events: list[Event] = []
    ledger = board_of(SWEEP, tmp_path, events)
    ledger.hand_out(SOURCE, "a")
    ledger.started("a")
    ledger.start_no_more("budget.wall = 1s is spent")
    ledger.start_no_more("a second reason")
    assert (
        ledger.board.ready() == ledger.board.heads() == []
        and not ledger.is_finished
        and not ledger.is_draining
    )
    ledger.published(SOURCE, 1.0, {})
    assert ledger.is_finished and ledger.spent == "budget.wall = 1s is spent"
    assert [event.text for event in events if event.kind == "note"] == [
        "budget.wall = 1s is spent: nothing more starts, running nodes go on to their end"
    ]


def test_the_heads_are_the_most_urgent_of_each_stage(tmp_path: Path) -> None:
    ledger = board_of(SWEEP, tmp_path, [])
    assert ledger.board.heads() == [SOURCE, FREE]
    ledger.hand_out(SOURCE, "a")
    assert ledger.board.heads() == [OTHER, FREE]
    ledger.retry(SOURCE, "its worker was lost")
    assert ledger.board.heads() == [SOURCE, FREE] and ledger.board.ready() == [SOURCE, OTHER, FREE]


def test_hours_count_running_trials_and_failed_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    ledger = board_of(SWEEP, tmp_path, [])
    for place, node in enumerate((SOURCE, OTHER)):
        ledger.hand_out(node, str(place))
        ledger.started(str(place))
    now[0] = 3600.0
    ledger.failed(SOURCE, "diverged")
    now[0] = 7200.0
    seconds, resources = ledger.in_hand.seconds_used(), {"source": Resources(2.0, 0.5)}
    assert hours_spent(seconds, resources, ledger.wall_s) == Spent(6.0, 1.5, 7200.0)


def test_durations_come_from_nodes_of_the_same_stage_and_size_and_else_are_unknown() -> None:
    past = PastRuns()
    past.add("target", {"method": "dwp", "train_size": 5, "split": 0, "target": {"lr": 1e-3}}, 10.0)
    past.add("target", {"method": "dwp", "train_size": 5, "split": 1, "target": {"lr": 1e-4}}, 20.0)
    known = past.duration("target", {"method": "dwp", "train_size": 5, "split": 7, "target": {"lr": 1.0}})
    assert known is not None and (known.mean_s, known.low_s, known.high_s, known.n) == (15.0, 10.0, 20.0, 2)
    assert past.duration("target", {"method": "dwp", "train_size": 10}) is None
    assert past.duration("source", {"method": "dwp", "train_size": 5}) is None


def test_nodes_that_were_never_run_are_told_by_the_bench_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_rates("cpu", 1, {"fp32": 0.3}, tmp_path / "dwp_sweep" / "step_rates.json")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = {
        task: {
            "layout": "phantom",
            "phantom": {"kind": task, "n_subjects": 4, "shape": [16, 16, 16]},
            "preprocess": {"shape": [16, 16, 16]},
            "n_val": 1,
            "n_test": 1,
        }
        for task in ("source", "target")
    }
    fixed = {"train_size": 1, "method": "random_init", "target.steps_per_epoch": 10}
    space = {"name": "small", "data": data, "fixed": fixed}
    store = LocalStore(tmp_path / "storage")
    cost = plan_cost(make_plan(build_sweep(load_space(space), store.root), store), store, 2)
    (row,) = cost.stages
    assert (row.stage, row.n_unknown, row.n_by_bench) == ("target", 0, 1)
    assert row.cpu_hours is not None and row.cpu_hours.mean > 0
    with StringIO() as text:
        show_cost(cost, Console(file=text, width=200))
        assert "1 of these nodes by the bench's training step" in text.getvalue()


def test_a_plan_says_hours_makespan_and_what_a_budget_would_cut(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first = toy_node("target", "first")
    run_node(first, STAGES["target"], store)
    past = store.record("target", first.key)
    assert past is not None
    targets = [toy_node("target", f"t{i}") for i in range(6)]
    sweep = toy_sweep(SOURCE, *targets, toy_node("target", "deep", [SOURCE]))
    cost = plan_cost(make_plan(replace(sweep, budget=BudgetConfig(trials=2)), store), store, 2)
    rows = {row.stage: row for row in cost.stages}
    assert (rows["source"].n_unknown, rows["source"].cpu_hours) == (1, None)
    hours = rows["target"].cpu_hours
    assert rows["target"].n_unknown == 0 and hours is not None
    assert hours.mean == pytest.approx(7 * past.wall_s / 3600)
    assert cost.n_unknown == 1 and cost.slots == "2 slots"
    assert cost.makespan_s == pytest.approx(
        4 * past.wall_s
    )  # seven targets, two at once, the source for nothing
    assert (cost.cut, cost.cut_by) == ({"source": 1, "target": 5}, "budget.trials")
    assert plan_cost(make_plan(sweep, store), store, 2).cut == {}
