"""What ``dwp-sweep plan`` says of money: hours by stage, time to the end, what a budget cuts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console

from dwp_sweep.cli.terminal import table_of_numbers
from dwp_sweep.harness.cost.plan_cost import PlanCost, Range
from dwp_sweep.harness.view.text import duration


def show_cost(cost: PlanCost, console: Console) -> None:
    """Print the estimate of a plan; nothing where there is nothing to build."""
    rows = [row for row in cost.stages if row.n_to_build]
    if not rows:
        return
    if cost.n_configurations:
        console.print(_search(cost), soft_wrap=True, highlight=False)
    columns = ("nodes", "CPU-hours (range)", "GPU-hours (range)", "never measured")
    table = table_of_numbers("estimated", columns)
    for row in rows:
        hours = _hours(row.cpu_hours), _hours(row.gpu_hours)
        table.add_row(row.stage, str(row.n_to_build), *hours, str(row.n_unknown or ""))
    console.print(table, highlight=False)
    console.print(_time(cost), soft_wrap=True, highlight=False)
    _show_bench(cost, console)
    if cost.cut:
        stages = ", ".join(f"{n} {stage}" for stage, n in cost.cut.items())
        console.print(f"{cost.cut_by} would leave out: {stages}", soft_wrap=True, highlight=False)
    if cost.note:
        console.print(f"[yellow]note[/] {cost.note}", soft_wrap=True, highlight=False)


def _show_bench(cost: PlanCost, console: Console) -> None:
    n_by_bench = sum(row.n_by_bench for row in cost.stages)
    networks = [row for row in cost.stages if row.stage in ("source", "target")]
    if n_by_bench:
        how = "by the bench's training step: computing alone, none stopped early"
        console.print(f"{n_by_bench} of these nodes {how}", soft_wrap=True, highlight=False)
    elif any(row.n_unknown for row in networks):
        console.print("dwp-sweep bench step measures what a training step takes here", soft_wrap=True)


def cost_as_dict(cost: PlanCost) -> dict[str, Any]:
    """Plain values for JSON; ``makespan_s`` is None where some duration is unknown."""
    values = asdict(cost)
    return {**values, "makespan_s": None if cost.n_unknown else cost.makespan_s,
            "makespan_of_known_s": cost.makespan_s}  # fmt: skip


def _hours(found: Range | None) -> str:
    if found is None:
        return "unknown"
    if found.high == 0:
        return "0"
    return f"{found.mean:.3g} ({found.low:.3g} to {found.high:.3g})"


def _search(cost: PlanCost) -> str:
    s = "" if cost.n_configurations == 1 else "s"
    return (
        f"{cost.n_configurations} configuration{s} to come, estimated from {cost.n_drawn} drawn at random; "
        "what early stopping saves is not foreseen"
    )


def _time(cost: PlanCost) -> str:
    n_all = sum(row.n_to_build for row in cost.stages)
    if cost.n_unknown == n_all:
        return (
            f"time to the end on {cost.slots}: unknown, since nothing like these nodes was ever measured here"
        )
    if cost.n_unknown:
        return (
            f"time to the end on {cost.slots}: more than {duration(cost.makespan_s)}; "
            f"{cost.n_unknown} of {n_all} nodes were never measured"
        )
    path = f"no number of slots is faster than {duration(cost.critical_path_s)}"
    return f"time to the end on {cost.slots}: about {duration(cost.makespan_s)} ({path})"
