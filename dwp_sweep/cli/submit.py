"""``dwp-sweep submit``: a sweep as a job of a Ray cluster, followed from here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import FAILED, INTERRUPTED, remark
from dwp_sweep.errors import InputError, Problem


@click.command(short_help="Run the sweep on a Ray cluster, and follow it from here.")
@click.argument("space", metavar="SPACE", type=click.Path(path_type=Path))
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
@click.option("--max-concurrent", type=click.IntRange(min=1), metavar="N", help="Nodes at once, at most.")
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
    ctx: click.Context,
    space: Path,
    address: str,
    overrides: tuple[str, ...],
    smoke: bool,
    storage: str | None,
    tracking_uri: str | None,
    no_retry_failed: bool,
    max_concurrent: int | None,
    names: tuple[str, ...],
    no_wait: bool,
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

    request = job_request(
        space,
        overrides,
        smoke,
        storage,
        tracking_uri,
        not no_retry_failed,
        max_concurrent,
        _environment(names),
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


def _follow(client: Any, job_id: str) -> int:
    from dwp_sweep.harness.cluster.submission import JobLostError, follow

    try:
        end = follow(client, job_id, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        remark(f"job {job_id} goes on without this terminal; the same command follows it again")
        return INTERRUPTED
    except JobLostError as error:
        remark(f"{error}\n      -> once the cluster answers, the same command goes on")
        return FAILED
    if end.died:
        remark(f"{end.died}\n      -> the same command goes on from what is done")
    return end.exit_code


def _environment(names: tuple[str, ...]) -> dict[str, str]:
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise InputError(Problem(f"--pass-env {name}", "no such variable here") for name in missing)
    return {name: os.environ[name] for name in names}
