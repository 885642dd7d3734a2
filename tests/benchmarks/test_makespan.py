from __future__ import annotations

import heapq
import math

import pytest

from dwp_sweep.bench.frame import Setting
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.cost.simulation import list_schedule
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.resources import Resources
from tests.benchmarks.lower_bound import lower_bound
from tests.benchmarks.makespan import makespan
from tests.benchmarks.plain_trials import Span, first_starts, gaps
from tests.benchmarks.sleeping import paper_grid, phases, seconds_of


def test_gaps_are_between_trials_of_the_same_process() -> None:
    spans = [Span(1.0, 3.0, 7), Span(3.5, 4.0, 7), Span(2.0, 9.0, 8), Span(9.25, 9.5, 8)]
    assert gaps(spans) == [0.5, 0.25]
    assert first_starts(spans, 0.5) == [0.5, 1.5]


def test_the_grid_is_the_papers_and_its_phases_hold_all_of_it_once() -> None:
    grid = paper_grid(1.0)
    stages = [node.stage for node in grid.nodes.values()]
    assert {s: stages.count(s) for s in stages} == {"source": 10, "harvest": 1, "prior": 7, "target": 48}
    parts = phases(grid)
    assert sorted(key for part in parts for key in part.targets) == sorted(grid.nodes)
    for part in parts:
        assert all(key in part.nodes for node in part.nodes.values() for _, key in node.parents)


def test_list_scheduling_leaves_room_for_the_goal_and_barriers_do_not() -> None:
    grid = paper_grid(1.0)
    seconds, slots = seconds_of(grid), Resources(8.0, 0.0)
    shapes = dict.fromkeys(("source", "harvest", "prior", "target"), Resources(1.0, 0.0))
    bound = lower_bound(list(grid.nodes.values()), seconds, 8)
    assert list_schedule(list(grid.nodes.values()), seconds, shapes, slots).end_s < 1.05 * bound
    by_phase = sum(
        list_schedule([grid.nodes[key] for key in part.targets], seconds, shapes, slots).end_s
        for part in phases(grid)
    )
    assert by_phase > 1.15 * bound


def test_the_board_needs_little_longer_although_it_learns_the_durations_only_as_it_goes() -> None:
    grid = paper_grid(1.0)
    seconds = seconds_of(grid)
    states = {key: "waiting" if node.parents else "ready" for key, node in grid.nodes.items()}
    ledger = Ledger(Plan(grid, states), Durations(), lambda event: None)  # type: ignore[arg-type]
    now_s, running = 0.0, list[tuple[float, str]]()
    while True:
        while len(running) < 8 and (heads := ledger.board.heads()):
            ledger.hand_out(heads[0], heads[0].key)
            heapq.heappush(running, (now_s + seconds[heads[0].key], heads[0].key))
        if not running:
            break
        now_s, key = heapq.heappop(running)
        ledger.published(grid.nodes[key], seconds[key], {})
    assert ledger.is_finished
    # 1.12 where guesses by stage alone decide, 1.03 where all durations are known beforehand.
    assert now_s < 1.05 * lower_bound(list(grid.nodes.values()), seconds, 8)


@pytest.mark.slow
def test_the_bench_runs_at_its_tiny_scale() -> None:
    rows = {row.name: row for row in makespan(Setting(quick=True))}
    assert list(rows) == [
        "empty Tune trial", "our trial", "bound", "bound with Tune", "one sweep", "phase by phase",
    ]  # fmt: skip
    for row in rows.values():
        assert row.seconds is not None and row.seconds > 0 and row.ratio is not None
        assert all(math.isfinite(value) for value in row.extra.values())
    assert rows["one sweep"].seconds > rows["bound"].seconds  # type: ignore[operator]
