"""``dwp-sweep demo | run | plan``: start a sweep, or look at what it would do."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from dwp_sweep.cli.exits import remark
from dwp_sweep.cli.options import as_json, run_options, sweep_options
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.passwords import without_secrets

space_argument = click.argument("space", metavar="SPACE", type=click.Path(path_type=Path))


@click.command()
@space_argument
@run_options
@click.pass_context
def run(ctx: click.Context, /, space: Path, **options: Any) -> None:
    """Run the sweep of a search-space file.

    Generates or checks the data, builds every shared stage once, trains and evaluates all target
    networks, logs them to MLflow, and prints the table and the best configuration. Finished work is
    never repeated; Ctrl-C drains and the same command goes on.
    """
    _run(ctx, space, options)


@click.command(short_help="Run all methods on generated scans, in some minutes.")
@run_options
@click.pass_context
def demo(ctx: click.Context, /, **options: Any) -> None:
    """Run search_spaces/demo.yaml: all methods on generated scans, some minutes on 2 cores."""
    _run(ctx, demo_space(), options)


@click.command(short_help="Show what a run would build; starts nothing.")
@space_argument
@click.option("--nodes", is_flag=True, help="List every node: start of its key, state, title.")
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    metavar="N",
    help="Estimate the time for N nodes at once.  [default: as this machine allows]",
)
@as_json
@sweep_options
def plan(space: Path, nodes: bool, slots: int | None, as_json: bool, **options: Any) -> None:
    """Show which nodes a run would build, find done, or leave, by stage, and what that costs. Starts nothing.

    Hours come from past nodes of the same stage and size on the storage, with the sums of the shortest and
    longest of them as their range.
    """
    from dwp_sweep.api import plan_cost, plan_sweep
    from dwp_sweep.cli.summary import plan_as_json, show_plan
    from dwp_sweep.cli.terminal import scan_bar

    with scan_bar() as checking:
        found = plan_sweep(
            space,
            options["storage"],
            options["smoke"],
            options["overrides"],
            retry_failed=not options["no_retry_failed"],
            tracking_uri=options["tracking_uri"],
            say=remark,
            checking=checking,
        )
    cost = plan_cost(found, options["storage"], slots, options["tracking_uri"])
    if as_json:
        click.echo(plan_as_json(found, cost))
    else:
        show_plan(found, _run_command(space, options), nodes, cost)


def demo_space() -> Path:
    """The demo's search space: of the current folder, else of the checkout that this package lies in.

    Raises:
        InputError: There is neither.
    """
    name = Path("search_spaces") / "demo.yaml"
    for folder in (Path(), Path(__file__).resolve().parents[2]):
        if (folder / name).is_file():
            return folder / name
    raise InputError(Problem(str(name), "no such file here", "run the demo from a clone of the repository"))


def _run_command(space: Path, options: dict[str, Any]) -> str:
    words = ["dwp-sweep", "run", str(space)]
    words += [word for override in options["overrides"] for word in ("--set", override)]
    words += ["--smoke"] if options["smoke"] else []
    words += ["--storage", str(options["storage"])] if str(options["storage"]) != "dwp_runs" else []
    words += ["--tracking-uri", without_secrets(options["tracking_uri"])] if options["tracking_uri"] else []
    words += ["--no-retry-failed"] if options["no_retry_failed"] else []
    return shlex.join(words)


def _run(ctx: click.Context, space: Path, options: dict[str, Any]) -> None:
    remark(f"reading {space} ...")  # the imports below take seconds
    from dwp_sweep.api import run_sweep
    from dwp_sweep.cli.summary import show_run
    from dwp_sweep.cli.terminal import scan_bar

    _warn_of_lost_results(options["storage"])
    with scan_bar() as checking:
        finished = run_sweep(
            space,
            options["storage"],
            options["tracking_uri"],
            options["smoke"],
            options["overrides"],
            options["address"],
            retry_failed=not options["no_retry_failed"],
            max_concurrent=options["max_concurrent"],
            wait_s=options["wait_for_machines"],
            here=options["here"],
            say=remark,
            checking=checking,
        )
    show_run(finished, options["storage"])
    ctx.exit(finished.exit_code)


def _warn_of_lost_results(storage: Path | str) -> None:
    # A Ray job runs in a copy of the working directory, which Ray deletes some time after the job.
    if isinstance(storage, Path) and not storage.is_absolute() and "runtime_resources" in Path.cwd().parts:
        remark(
            f"note: results in {storage.resolve()} are deleted with this job's working directory; "
            "give --storage an absolute path, or set DWP_SWEEP_STORAGE where Ray is started"
        )
