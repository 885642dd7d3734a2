"""``dwp-sweep status | cancel | retrain``: look at a sweep, stop it, train its best again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import FAILED, remark, say

if TYPE_CHECKING:
    from dwp_sweep.harness.view.status import NodeStatus, SweepStatus

_STATES = ("done", "running", "waiting", "stopped", "pruned", "failed", "blocked")
_TRIAL_STATES = ("complete", "pruned", "failed", "open", "to come")
_N_FAILED = 10
_N_BEST = 8
"""Studies whose best trial is printed."""


@click.command(short_help="Show how a sweep stands: done, running, failed, hours, time left.")
@options.sweep
@options.as_json
@options.storage
def status(sweep: str, as_json: bool, storage: Path | str) -> None:
    """Show how a sweep stands, while it runs or after: nodes by stage, what runs, what failed, hours used.

    Reads the storage alone, so it works from any terminal that sees it, without MLflow and without Ray.
    """
    from dwp_sweep.harness.view.status import sweep_status
    from dwp_sweep.store.open_store import open_store

    answer = sweep_status(sweep, open_store(storage))
    if as_json:
        click.echo(json.dumps({**asdict(answer), "counts": answer.counts}, indent=1))
    else:
        _show_status(answer)


@click.command(short_help="Stop a running sweep politely, from another terminal.")
@options.sweep
@click.option(
    "--wait",
    type=options.SECONDS,
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="How long to wait until it has ended; 0 does not wait.",
)
@click.option("--now", is_flag=True, help="Kill the workers: what they did since their checkpoints is lost.")
@options.storage
@click.pass_context
def cancel(ctx: click.Context, sweep: str, wait: float, now: bool, storage: Path | str) -> None:
    """Stop a running sweep as Ctrl-C does: nodes leave at their checkpoints, the run ends with 130.

    --now ends it as a second Ctrl-C does, for nodes that hang or whose epochs are long. The same run command
    goes on from there. Exit code 1 if it has not ended when the wait is over.
    """
    from dwp_sweep.harness.stopping import cancel_sweep, wait_for_end
    from dwp_sweep.store.open_store import open_store

    store = open_store(storage)
    runs = cancel_sweep(sweep, store, now)
    for run in runs:
        say(f"asked to stop: {run.sweep}, process {run.pid} on {run.host}")
    left = wait_for_end(runs, store, wait) if wait else ()
    if left:
        what = "its nodes leave after their present epoch; --now does not wait for it"
        what = "it hangs: end its process" if now else what
        remark(f"not ended within {wait:g} s: {what}")
        ctx.exit(FAILED)
    elif wait:
        say("ended; the same run command goes on from there")


@click.command(short_help="Train the best configuration again, from the same upstream nodes.")
@options.sweep
@options.where
@click.option("--metric", default="val_dice", show_default=True, help="Validation metric to select by.")
@click.option(
    "--seed", type=options.SEED, metavar="N", help="Of start, order and noise.  [default: the run's own]"
)
@click.option(
    "--all-images",
    is_flag=True,
    help="Train on all images that do not test, those of validation included; they go on choosing the "
    "epoch, so validation scores then say nothing about other scans.",
)
@options.address
@options.storage
@options.tracking_uri
@click.pass_context
def retrain(
    ctx: click.Context,
    sweep: str,
    where: dict[str, str],
    metric: str,
    seed: int | None,
    all_images: bool,
    address: str | None,
    storage: Path | str,
    tracking_uri: str | None,
) -> None:
    """Train the best configuration of a sweep once more, from the very same upstream nodes.

    A fresh training, never a cached one: with the same seed it reproduces the run on a CPU. It belongs to
    the sweep SWEEP-retrain; its run names the first one in the tag dwp.retrained_from.
    """
    from dwp_sweep.api import retrain_best
    from dwp_sweep.cli.sweeps import show_run

    finished = retrain_best(
        sweep, storage, tracking_uri, where, metric, seed, all_images, address, say=remark
    )
    show_run(finished, storage)
    ctx.exit(finished.exit_code)


def _show_status(status: SweepStatus) -> None:
    """Print nodes by stage, what runs, what failed, hours used and time left."""
    from dwp_sweep.cli.terminal import print_line, short_key, standard_output, table_of_numbers

    console = standard_output()
    runs = [f"process {run.pid} on {run.host} is working on it" for run in status.runs]
    working = "; ".join(runs) or "no run is working on it"
    print_line(console, f"sweep {status.sweep}: {working}", style="bold")
    for run in status.runs:
        if run.mlflow:
            print_line(console, run.mlflow, style="yellow")
    shown = [state for state in _STATES if state in status.counts or state in ("done", "running", "waiting")]
    table = table_of_numbers("stage", shown)
    for stage in dict.fromkeys(node.stage for node in status.nodes):
        states = [str(node.state) for node in status.nodes if node.stage == stage]
        table.add_row(stage, *(str(states.count(state)) for state in shown))
    console.print(table)
    for line in _search_lines(status):
        print_line(console, line)
    for node in status.in_state("running"):
        word = "STALLED" if node.silence else "running"
        print_line(console, f"{word}  {short_key(node.key)}  {node.title}: {_progress(node)}")
    failed = status.in_state("failed")
    for node in failed[:_N_FAILED]:
        print_line(console, f"FAILED   {short_key(node.key)}  {node.title}")
        for line in node.log:
            print_line(console, f"         {line}")
    if len(failed) > _N_FAILED:
        print_line(console, f"and {len(failed) - _N_FAILED} more failed (--json has all)")
    for host in status.failures:
        print_line(console, f"failures on {host.text}")
    devices = ", ".join(f"{n} on {device}" for device, n in status.devices.items())
    computed = f" (nodes computed: {devices})" if devices else ""
    print_line(console, f"hours used: {status.cpu_hours:.2f} CPU, {status.gpu_hours:.2f} GPU{computed}")
    print_line(console, _time_left(status))


def _search_lines(status: SweepStatus) -> list[str]:
    """Trials by state, and the best of each study so far."""
    from dwp_sweep.config.node import short_settings

    search = status.search
    if search is None:
        return []
    if search.problem:
        return [f"its studies cannot be read: {search.problem}"]
    counts = {**search.n_by_state, "to come": search.n_to_come}
    parts = [f"{n} {state}" for state in _TRIAL_STATES if (n := counts.get(state))]
    lines = [f"trials: {', '.join(parts)} of {search.n_trials}"]
    for best in search.best[:_N_BEST]:
        where = "" if best.condition == "all" else f"{best.condition}: "
        values = short_settings(best.values)
        lines.append(f"best so far: {where}trial {best.number} {values}, {best.metric} {best.value:.4f}")
    if len(search.best) > _N_BEST:
        lines.append(f"and {len(search.best) - _N_BEST} more studies (--json has all)")
    return lines


def _progress(node: NodeStatus) -> str:
    from dwp_sweep.harness.view.text import duration, metric_text

    epochs = node.reading or (f"epoch {node.epoch}/{node.n_epochs}" if node.n_epochs else "begun")
    by = f", {node.by}" if node.by else ""
    silence = f"; {node.silence}" if node.silence else ""
    return f"{epochs} after {duration(node.wall_s)}{metric_text(node.metrics, ', ')}{by}{silence}"


def _time_left(status: SweepStatus) -> str:
    from dwp_sweep.harness.view.text import duration

    n_open = sum(status.counts.get(state, 0) for state in ("running", "waiting", "stopped"))
    n_to_come = status.search.n_to_come if status.search is not None else 0
    if not n_open and not n_to_come:
        return "nothing is left to do" if status.nodes else "its nodes are not known yet"
    if status.left_s is None:
        open_nodes = f"some of the {n_open} open nodes" if n_open else "its target networks"
        return f"time left: unknown, since nothing like {open_nodes} was ever measured"
    if status.left_s < 1.0:
        return "time left: unknown, since what runs takes longer than anything like it did"
    slots = f"{status.n_slots} node{'s' if status.n_slots != 1 else ''} at once"
    when = "" if status.runs else ", once it runs again"
    return f"time left: about {duration(status.left_s)} with {slots}{when}"
