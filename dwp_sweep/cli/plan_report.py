"""What ``dwp-sweep plan`` shows: nodes by stage and state, hours, time to the end, what a budget cuts."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from dwp_sweep.cli.terminal import print_line, short_key, standard_output, table_of_numbers
from dwp_sweep.harness.cost.plan_cost import PlanCost, Range
from dwp_sweep.harness.view.text import duration

if TYPE_CHECKING:
    from dwp_sweep.config.node import Node
    from dwp_sweep.harness.dag.plan import Plan


def show_plan(plan: Plan, command: str, nodes: bool = False, cost: PlanCost | None = None) -> None:
    """Print how many nodes of each stage a run would build, find done, or leave.

    Args:
        plan: From `plan_sweep`.
        command: That would run it.
        nodes: List every node as well.
        cost: What it costs.
    """
    console, search = standard_output(), plan.sweep.search
    rows = [(row.stage, row.n_to_build, row.n_cached, row.n_failed, row.n_blocked) for row in plan.by_stage()]
    totals = [sum(counts) for counts in zip(*(row[1:] for row in rows), strict=True)]
    table = table_of_numbers("stage", ("to build", "cached", "failed", "blocked"))
    for stage, *counts in [*rows, ("all", *totals)]:
        table.add_row(str(stage), *map(str, counts))
    known = "" if search is None else " known so far"
    console.print(f"sweep {escape(plan.sweep.name)}: {len(plan.sweep.nodes)} nodes{known}", style="bold")
    console.print(table)
    if cost is not None:
        show_cost(cost, console)
    for node in _in_order(plan) if nodes else ():
        print_line(console, f"  {short_key(node.key)}  {plan.states[node.key]:<8}  {node.title}")
    for note in plan.notes:
        console.print(f"[yellow]note[/] {escape(note)}")
    if search is not None:
        n_trials, n_studies = search.searcher.n_trials, len(search.conditions)
        n_repeats = max(len(condition.members) for condition in search.conditions)
        each = f" of {n_repeats} networks each" if n_repeats > 1 else ""
        studies = f"{n_studies} stud{'y' if n_studies == 1 else 'ies'}"
        console.print(
            f"search: {n_trials} configurations{each} in {studies}; "
            "which ones is known when they are asked for"
        )
    is_open = plan.to_build or search is not None
    console.print(
        f"run it: {escape(command)}" if is_open else "nothing to build", soft_wrap=True, highlight=False
    )


def plan_as_json(plan: Plan, cost: PlanCost | None = None) -> str:
    """The plan for programs: ``sweep``, ``nodes`` (key, stage, title, state), ``notes`` and ``cost``.

    ``makespan_s`` of the cost is None where some duration is unknown.
    """
    nodes = [
        {"key": node.key, "stage": node.stage, "title": node.title, "state": plan.states[node.key]}
        for node in _in_order(plan)
    ]
    values: dict[str, Any] = {"sweep": plan.sweep.name, "nodes": nodes, "notes": plan.notes}
    if cost is not None:
        makespan_s = None if cost.n_unknown else cost.makespan_s
        times = {"makespan_s": makespan_s, "makespan_of_known_s": cost.makespan_s}
        values["cost"] = asdict(cost) | times
    return json.dumps(values, indent=1)


def show_cost(cost: PlanCost, console: Console) -> None:
    """Print the estimate of a plan; nothing where there is nothing to build."""
    rows = [row for row in cost.stages if row.n_to_build]
    if not rows:
        return
    if n := cost.n_configurations:
        console.print(
            f"{n} configuration{'' if n == 1 else 's'} to come, estimated from {cost.n_drawn} drawn at "
            "random; what early stopping saves is not foreseen",
            soft_wrap=True,
            highlight=False,
        )
    columns = ("nodes", "CPU-hours (range)", "GPU-hours (range)", "never measured")
    table = table_of_numbers("estimated", columns)
    for row in rows:
        hours = _hours(row.cpu_hours), _hours(row.gpu_hours)
        table.add_row(row.stage, str(row.n_to_build), *hours, str(row.n_unknown or ""))
    console.print(table, highlight=False)
    console.print(f"time to the end on {cost.slots}: {_time(cost)}", soft_wrap=True, highlight=False)
    n_by_bench = sum(row.n_by_bench for row in cost.stages)
    if n_by_bench:
        how = "by the bench's training step: computing alone, none stopped early"
        console.print(f"{n_by_bench} of these nodes {how}", soft_wrap=True, highlight=False)
    elif any(row.n_unknown for row in cost.stages if row.stage in ("source", "target")):
        console.print("dwp-sweep bench step measures what a training step takes here", soft_wrap=True)
    if cost.cut:
        stages = ", ".join(f"{n} {stage}" for stage, n in cost.cut.items())
        console.print(f"{cost.cut_by} would leave out: {stages}", soft_wrap=True, highlight=False)
    if cost.note:
        console.print(f"[yellow]note[/] {cost.note}", soft_wrap=True, highlight=False)


def _in_order(plan: Plan) -> list[Node]:
    stages = [row.stage for row in plan.by_stage()]
    return sorted(plan.sweep.nodes.values(), key=lambda node: stages.index(node.stage))


def _hours(hours: Range | None) -> str:
    if hours is None:
        return "unknown"
    if hours.high == 0:
        return "0"
    return f"{hours.mean:.3g} ({hours.low:.3g} to {hours.high:.3g})"


def _time(cost: PlanCost) -> str:
    n_all = sum(row.n_to_build for row in cost.stages)
    if cost.n_unknown == n_all:
        return "unknown, since nothing like these nodes was ever measured here"
    if cost.n_unknown:
        known = f"more than {duration(cost.makespan_s)}"
        return f"{known}; {cost.n_unknown} of {n_all} nodes were never measured"
    path = f"no number of slots is faster than {duration(cost.critical_path_s)}"
    return f"about {duration(cost.makespan_s)} ({path})"
