"""Options that several commands share, with the environment variables that stand for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dwp_sweep.cli.exits import place
from dwp_sweep.store.s3.bucket import is_url

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class StoragePlace(click.ParamType[str | Path]):
    """A folder, or an URL: the latter stays a text."""

    name = "directory"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        """A `Path` for a folder, the text itself for an URL."""
        if is_url(value):
            return str(value)
        path: Path = click.Path(file_okay=False, path_type=Path).convert(value, param, ctx)
        return path


storage = click.option(
    "--storage",
    metavar="PLACE",
    type=StoragePlace(),
    default=Path("dwp_runs"),
    show_default="./dwp_runs",
    envvar="DWP_SWEEP_STORAGE",
    show_envvar=True,
    callback=place("--storage"),
    help="Folder of results, checkpoints and caches, on a cluster a shared one; or s3://BUCKET/PREFIX.",
)

tracking_uri = click.option(
    "--tracking-uri",
    metavar="URI",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    help="MLflow's tracking URI.  [default: SQLite in the storage folder]",
)

overrides = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a value of the search space, in dotted form; may be repeated.",
)

smoke = click.option("--smoke", is_flag=True, help="Shrink the sweep to the scale of its `smoke` section.")

no_retry_failed = click.option(
    "--no-retry-failed", is_flag=True, help="Leave nodes alone that failed earlier."
)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def sweep_options(command: CommandT) -> CommandT:
    """What describes a sweep: overrides, scale, where results lie, what to do with failed nodes."""
    for option in reversed(_SWEEP):
        command = option(command)
    return command


def run_options(command: CommandT) -> CommandT:
    """What describes where a sweep runs, besides `sweep_options`."""
    for option in reversed(_RUN):
        command = option(command)
    return sweep_options(command)


_SWEEP = (
    overrides,
    smoke,
    storage,
    tracking_uri,
    no_retry_failed,
)

_RUN = (
    click.option(
        "--here",
        is_flag=True,
        help="Compute all nodes in this process, one after the other, without Ray.",
    ),
    click.option(
        "--address",
        metavar="ADDRESS",
        help="An existing Ray cluster.  [default: RAY_ADDRESS, else a local Ray]",
    ),
    click.option(
        "--max-concurrent",
        type=click.IntRange(min=1),
        metavar="N",
        help="Nodes at once, at most.  [default: as the resources allow]",
    ),
    click.option(
        "--wait-for-machines",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        default=900.0,
        show_default=True,
        envvar="DWP_SWEEP_WAIT_FOR_MACHINES",
        show_envvar=True,
        help="How long a cluster that grows may take to bring a machine that a stage asks for.",
    ),
)
