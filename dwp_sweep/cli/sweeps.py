"""``dwp-sweep demo | run | submit``: run a sweep here or on a cluster, and show how it ended."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import FAILED, INTERRUPTED, remark
from dwp_sweep.errors import InputError, Problem

if TYPE_CHECKING:
    from dwp_sweep.api import SweepRun

DEMO = Path("search_spaces") / "demo.yaml"
"""Of the current folder, else the one that comes with the package."""


@click.command()
@options.space
@options.run_options
@click.pass_context
def run(ctx: click.Context, /, space: Path, **values: Any) -> None:
    """Run the sweep of a search-space file.

    Generates or checks the data, builds every shared stage once, trains and evaluates all target
    networks, logs them to MLflow, and prints the table and the best configuration. Finished work is
    never repeated; Ctrl-C drains and the same command goes on.
    """
    _run(ctx, space, values)


@click.command(short_help="Run all methods on generated scans, in some minutes.")
@options.run_options
@click.pass_context
def demo(ctx: click.Context, /, **values: Any) -> None:
    """Run search_spaces/demo.yaml: all methods on generated scans, some minutes on 2 cores."""
    _run(ctx, DEMO, values)


@click.command(short_help="Run the sweep on a Ray cluster, and follow it from here.")
@options.space
@click.option(
    "--address",
    metavar="URL",
    required=True,
    envvar="RAY_API_SERVER_ADDRESS",
    show_envvar=True,
    help="The cluster's dashboard, as in http://HOST:8265.",
)
@options.overrides
@options.smoke
@click.option(
    "--storage",
    metavar="PATH",
    help="Storage as the cluster sees it.  [default: DWP_SWEEP_STORAGE of the cluster]",
)
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="MLflow as the cluster sees it.  [default: MLFLOW_TRACKING_URI of the cluster]",
)
@options.no_retry_failed
@click.option("--max-concurrent", type=options.COUNT, metavar="N", help="Nodes at once, at most.")
@click.option(
    "--pass-env",
    "names",
    metavar="NAME",
    multiple=True,
    help="Give the job this variable as it is here; all who may ask the cluster for the job see it.",
)
@click.option("--no-wait", is_flag=True, help="Do not follow the job.")
@click.pass_context
def submit(
    ctx: click.Context, /, space: Path, address: str, names: tuple[str, ...], no_wait: bool, **values: Any
) -> None:
    """Run the sweep of a search-space file on a Ray cluster, and follow its log until it ends.

    Sends the file, and the package's source where this is a checkout; scans and results stay on the
    cluster's storage. The same command again attaches to the running job, or goes on where an ended one
    stopped. Ctrl-C leaves the job alone. Exit codes are those of the sweep.

    Where the cluster asks for a token, it is taken from RAY_AUTH_TOKEN_PATH, a file, or RAY_AUTH_TOKEN.
    """
    from dwp_sweep.harness.cluster.job_package import job_request
    from dwp_sweep.harness.cluster.submission import connect
    from dwp_sweep.harness.cluster.submission import submit as start

    if missing := [name for name in names if name not in os.environ]:
        raise InputError(Problem(f"--pass-env {name}", "no such variable here") for name in missing)
    request = job_request(
        space,
        values["overrides"],
        values["smoke"],
        values["storage"],
        values["tracking_uri"],
        not values["no_retry_failed"],
        values["max_concurrent"],
        {name: os.environ[name] for name in names},
    )
    client = connect(address)
    job = start(client, request)
    remark(
        f"{request.sweep}: submitted as job {job.id}, {job.n_bytes / 1e6:.1f} MB"
        if job.is_new
        else f"{request.sweep}: attached to job {job.id}, which runs already"
    )
    if no_wait:
        remark("the same command without --no-wait follows it")
    else:
        ctx.exit(_follow(client, job.id))


def show_run(run: SweepRun, storage: Path | str) -> None:
    """Print how a run ended: table, best configuration, what failed, and where to look further.

    Args:
        run: From `run_sweep`.
        storage: As the user gave it.
    """
    from dwp_sweep.cli.terminal import print_line, show_table, standard_output
    from dwp_sweep.harness.view.text import node_lines
    from dwp_sweep.report.answers.paper_table import paper_table
    from dwp_sweep.tables import print_tables

    console = standard_output()
    if (run.results["state"] == "done").any():
        console.print()
        show_table(paper_table(run.results), console)
    for answer in (run.front or run.best, run.search):
        if answer is not None:
            console.print()
            print_tables(answer.tables(), console)
    for node, message in run.outcome.failed:
        line = (message.strip().splitlines() or ["no message"])[0]
        print_line(console, ("failed", "red"), f" {node.title}: {line}")
    if run.outcome.blocked:
        print_line(console, ("blocked", "yellow"), f" by them: {node_lines(run.outcome.blocked)}")
    if run.outcome.failed or any(host.is_avoided for host in run.outcome.by_host):
        for host in run.outcome.by_host:
            print_line(console, ("failures", "red"), f" on {host.text}")
    console.print()
    if not run.tracking.online:
        print_line(console, f"  the records are in {storage}; the same command sends them to MLflow")
        return
    for what, command in _ways_on(run, storage):
        print_line(console, f"  {what:<24}{command}")


def _run(ctx: click.Context, space: Path, values: dict[str, Any]) -> None:
    remark(f"reading {space} ...")  # the imports below take seconds
    from dwp_sweep.api import run_sweep
    from dwp_sweep.cli.terminal import scan_bar
    from dwp_sweep.harness.notifier import Notify

    _warn_of_lost_results(values["storage"])
    with scan_bar() as checking:
        finished = run_sweep(
            space,
            values["storage"],
            values["tracking_uri"],
            values["smoke"],
            values["overrides"],
            values["address"],
            retry_failed=not values["no_retry_failed"],
            max_concurrent=values["max_concurrent"],
            wait_s=values["wait_for_machines"],
            here=values["here"],
            wait_for_driver=values["wait_for_driver"],
            notify=Notify(values["notify_command"], values["notify_webhook"], values["notify_on"]),
            say=remark,
            checking=checking,
        )
    show_run(finished, values["storage"])
    ctx.exit(finished.exit_code)


def _ways_on(run: SweepRun, storage: Path | str) -> list[tuple[str, str]]:
    from dwp_sweep.tracking.client import shown_uri, sqlite_uri
    from dwp_sweep.tracking.write.pages import targets_page

    uri, folder = shown_uri(run.tracking.uri), isinstance(storage, Path) and storage.resolve()
    sweep = [run.sweep.name, *([] if str(storage) == "dwp_runs" else ["--storage", str(storage)])]
    # MLflow's database inside a storage folder is the default of every command.
    sweep += [] if folder and uri == sqlite_uri(folder / "mlflow.db") else ["--tracking-uri", uri]
    best = shlex.join(["dwp-sweep", "best", *sweep])
    # A search that may not ask for anything has no target.
    labels = run.sweep.nodes[run.sweep.targets[0]].labels if run.sweep.targets else {}
    where = " ".join(f"--where {name}={labels[name]}" for name in ("method", "train_size") if name in labels)
    server = uri if "http" in uri else shlex.join(["mlflow", "ui", "--backend-store-uri", uri])
    ways = [
        ("curves, figures, files", server),
        ("there, target networks", targets_page(run.tracking.experiment_id)),
        ("this table", shlex.join(["dwp-sweep", "report", *sweep])),
        ("the best", best),
    ]
    if where:
        ways.append(("of one method and size", f"{best} {where}"))
    if run.search is not None:
        figures = f"{storage}/sweeps/{run.sweep.name}/figures" if folder else "artifacts of the parent run"
        ways.append(("figures of the search", figures))
    if run.best is not None:
        code = f"import dwp_sweep; net = dwp_sweep.load_model({run.best.run_ids[0]!r}, {uri!r})"
        ways.append(("the trained network", shlex.join(["python", "-c", code])))
    return ways


def _warn_of_lost_results(storage: Path | str) -> None:
    # A Ray job runs in a copy of the working directory, which Ray deletes some time after the job.
    if isinstance(storage, Path) and not storage.is_absolute() and "runtime_resources" in Path.cwd().parts:
        remark(
            f"note: results in {storage.resolve()} are deleted with this job's working directory; "
            "give --storage an absolute path, or set DWP_SWEEP_STORAGE where Ray is started"
        )


def _follow(client: Any, job_id: str) -> int:
    from dwp_sweep.harness.cluster.submission import JobLostError, follow

    try:
        end = follow(client, job_id, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        remark(f"job {job_id} goes on without this terminal; the same command follows it again")
        return INTERRUPTED
    except JobLostError as error:
        remark(*str(error).splitlines(), "      -> once the cluster answers, the same command goes on")
        return FAILED
    if end.died:
        remark(*end.died.splitlines(), "      -> the same command goes on from what is done")
    return end.exit_code
