"""``dwp-sweep plan``: nodes by stage and state, hours, time to the end, what a budget cuts."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import remark
from dwp_sweep.passwords import without_secrets

if TYPE_CHECKING:
    from rich.console import Console

    from dwp_sweep.config.node import Node
    from dwp_sweep.harness.cost.plan_cost import PlanCost, Range
    from dwp_sweep.harness.dag.plan import Plan


@click.command(short_help="Show what a run would build; starts nothing.")
@options.space
@click.option("--nodes", is_flag=True, help="List every node: start of its key, state, title.")
@click.option(
    "--slots",
    type=options.COUNT,
    metavar="N",
    help="Estimate the time for N nodes at once.  [default: as this machine allows]",
)
@options.as_json
@options.sweep_options
def plan(space: Path, nodes: bool, slots: int | None, as_json: bool, **values: Any) -> None:
    """Show which nodes a run would build, find done, or leave, by stage, and what that costs. Starts nothing.

    Hours come from past nodes of the same stage and size on the storage, with the sums of the shortest and
    longest of them as their range.
    """
    from dwp_sweep.api import plan_cost, plan_sweep
    from dwp_sweep.cli.terminal import scan_bar

    with scan_bar() as checking:
        nodes_plan = plan_sweep(
            space,
            values["storage"],
            values["smoke"],
            values["overrides"],
            retry_failed=not values["no_retry_failed"],
            tracking_uri=values["tracking_uri"],
            say=remark,
            checking=checking,
        )
    cost = plan_cost(nodes_plan, values["storage"], slots, values["tracking_uri"])
    if as_json:
        click.echo(_plan_as_json(nodes_plan, cost))
    else:
        show_plan(nodes_plan, _run_command(space, values), nodes, cost)


def _run_command(space: Path, values: dict[str, Any]) -> str:
    words = ["dwp-sweep", "run", str(space)]
    words += [word for override in values["overrides"] for word in ("--set", override)]
    words += ["--smoke"] if values["smoke"] else []
    words += ["--storage", str(values["storage"])] if str(values["storage"]) != "dwp_runs" else []
    words += ["--tracking-uri", without_secrets(values["tracking_uri"])] if values["tracking_uri"] else []
    words += ["--no-retry-failed"] if values["no_retry_failed"] else []
    return shlex.join(words)


def show_plan(plan: Plan, command: str, nodes: bool, cost: PlanCost) -> None:
    """Print how many nodes of each stage a run would build, find done, or leave."""
    from dwp_sweep.cli.terminal import print_line, short_key, standard_output, table_of_numbers

    console, search = standard_output(), plan.sweep.search
    rows = [(row.stage, row.n_to_build, row.n_cached, row.n_failed, row.n_blocked) for row in plan.by_stage()]
    totals = [sum(counts) for counts in zip(*(row[1:] for row in rows), strict=True)]
    table = table_of_numbers("stage", ("to build", "cached", "failed", "blocked"))
    for stage, *counts in [*rows, ("all", *totals)]:
        table.add_row(str(stage), *map(str, counts))
    known = "" if search is None else " known so far"
    print_line(console, f"sweep {plan.sweep.name}: {len(plan.sweep.nodes)} nodes{known}", style="bold")
    console.print(table)
    show_cost(cost, console)
    for node in _in_order(plan) if nodes else ():
        print_line(console, f"  {short_key(node.key)}  {plan.states[node.key]:<8}  {node.title}")
    for note in plan.notes:
        print_line(console, ("note", "yellow"), f" {note}")
    if search is not None:
        n_trials, n_studies = search.searcher.n_trials, len(search.conditions)
        n_repeats = max(len(condition.members) for condition in search.conditions)
        each = f" of {n_repeats} networks each" if n_repeats > 1 else ""
        studies = f"{n_studies} stud{'y' if n_studies == 1 else 'ies'}"
        which = "which ones is known when they are asked for"
        print_line(console, f"search: {n_trials} configurations{each} in {studies}; {which}")
    is_open = plan.to_build or search is not None
    print_line(console, f"run it: {command}" if is_open else "nothing to build")


def _plan_as_json(plan: Plan, cost: PlanCost) -> str:
    """The plan for programs: ``sweep``, ``nodes`` (key, stage, title, state), ``notes`` and ``cost``.

    ``makespan_s`` of the cost is None where some duration is unknown.
    """
    nodes = [
        {"key": node.key, "stage": node.stage, "title": node.title, "state": plan.states[node.key]}
        for node in _in_order(plan)
    ]
    makespan_s = None if cost.n_unknown else cost.makespan_s
    times = {"makespan_s": makespan_s, "makespan_of_known_s": cost.makespan_s}
    values = {"sweep": plan.sweep.name, "nodes": nodes, "notes": plan.notes, "cost": asdict(cost) | times}
    return json.dumps(values, indent=1)


def show_cost(cost: PlanCost, console: Console) -> None:
    """Print the estimate of a plan; nothing where there is nothing to build."""
    from dwp_sweep.cli.terminal import print_line, table_of_numbers

    rows = [row for row in cost.stages if row.n_to_build]
    if not rows:
        return
    if n := cost.n_configurations:
        drawn = f"estimated from {cost.n_drawn} drawn at random; what early stopping saves is not foreseen"
        print_line(console, f"{n} configuration{'' if n == 1 else 's'} to come, {drawn}")
    columns = ("nodes", "CPU-hours (range)", "GPU-hours (range)", "never measured")
    table = table_of_numbers("estimated", columns)
    for row in rows:
        hours = _hours(row.cpu_hours), _hours(row.gpu_hours)
        table.add_row(row.stage, str(row.n_to_build), *hours, str(row.n_unknown or ""))
    console.print(table)
    print_line(console, f"time to the end on {cost.slots}: {_time(cost)}")
    n_by_bench = sum(row.n_by_bench for row in cost.stages)
    if n_by_bench:
        how = "by the bench's training step: computing alone, none stopped early"
        print_line(console, f"{n_by_bench} of these nodes {how}")
    elif any(row.n_unknown for row in cost.stages if row.stage in ("source", "target")):
        print_line(console, "dwp-sweep bench step measures what a training step takes here")
    if cost.cut:
        stages = ", ".join(f"{n} {stage}" for stage, n in cost.cut.items())
        print_line(console, f"{cost.cut_by} would leave out: {stages}")
    if cost.note:
        print_line(console, ("note", "yellow"), f" {cost.note}")


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
    from dwp_sweep.harness.view.text import duration

    n_all = sum(row.n_to_build for row in cost.stages)
    if cost.n_unknown == n_all:
        return "unknown, since nothing like these nodes was ever measured here"
    if cost.n_unknown:
        known = f"more than {duration(cost.makespan_s)}"
        return f"{known}; {cost.n_unknown} of {n_all} nodes were never measured"
    path = f"no number of slots is faster than {duration(cost.critical_path_s)}"
    return f"about {duration(cost.makespan_s)} ({path})"
