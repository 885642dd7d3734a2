"""What ``dwp-sweep status`` shows for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dwp_sweep.cli.terminal import short_key, standard_output, table_of_numbers
from dwp_sweep.harness.view.status import NodeStatus, SweepStatus
from dwp_sweep.harness.view.text import duration, metric_text

_STATES = ("done", "running", "waiting", "stopped", "pruned", "failed", "blocked")
_N_FAILED = 10


def show_status(status: SweepStatus) -> None:
    """Print nodes by stage, what runs, what failed, hours used and time left."""
    console = standard_output()
    console.print(f"sweep {escape(status.sweep)}: {_what_runs(status)}", style="bold", highlight=False)
    console.print(_table(status))
    for node in status.in_state("running"):
        _line(console, f"running  {short_key(node.key)}  {node.title}: {_progress(node)}")
    for node in status.in_state("failed")[:_N_FAILED]:
        _line(console, f"FAILED   {short_key(node.key)}  {node.title}")
        for line in node.log:
            _line(console, f"         {line}")
    n_more = len(status.in_state("failed")) - _N_FAILED
    if n_more > 0:
        _line(console, f"and {n_more} more failed (--json has all)")
    _line(console, f"hours used: {status.cpu_hours:.2f} CPU, {status.gpu_hours:.2f} GPU")
    _line(console, _left(status))


def status_as_json(status: SweepStatus) -> str:
    """Everything of a status, with counts by state."""
    return json.dumps({**asdict(status), "counts": status.counts}, indent=1)


def _what_runs(status: SweepStatus) -> str:
    if not status.runs:
        return "no run is working on it"
    return "; ".join(f"process {run.pid} on {run.host} is working on it" for run in status.runs)


def _table(status: SweepStatus) -> Table:
    shown = [state for state in _STATES if state in status.counts or state in ("done", "running", "waiting")]
    table = table_of_numbers("stage", shown)
    for stage in dict.fromkeys(node.stage for node in status.nodes):
        states = [str(node.state) for node in status.nodes if node.stage == stage]
        table.add_row(stage, *(str(states.count(state)) for state in shown))
    return table


def _progress(node: NodeStatus) -> str:
    epochs = node.reading or (f"epoch {node.epoch}/{node.n_epochs}" if node.n_epochs else "begun")
    by = f", {node.by}" if node.by else ""
    return f"{epochs} after {duration(node.wall_s)}{metric_text(node.metrics, ', ')}{by}"


def _left(status: SweepStatus) -> str:
    n_open = sum(status.counts.get(state, 0) for state in ("running", "waiting", "stopped"))
    if not n_open:
        return "nothing is left to do"
    if status.left_s is None:
        return f"time left: unknown, since nothing like some of the {n_open} open nodes was ever measured"
    slots = f"{status.n_slots} node{'s' if status.n_slots != 1 else ''} at once"
    when = "" if status.runs else ", once it runs again"
    return f"time left: about {duration(status.left_s)} with {slots}{when}"


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
