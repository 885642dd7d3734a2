"""The command ``dwp-sweep``: prints what the public functions answer.

Modules of this package import only click and the light parts of the package at their top; torch, Ray,
MLflow and pandas come in when a command needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import click

from dwp_sweep import __version__
from dwp_sweep.cli.answers import best, report
from dwp_sweep.cli.bench import bench
from dwp_sweep.cli.data import data
from dwp_sweep.cli.exits import Commands
from dwp_sweep.cli.export import export, register
from dwp_sweep.cli.init import init
from dwp_sweep.cli.plan import plan
from dwp_sweep.cli.predict import predict
from dwp_sweep.cli.running import cancel, retrain, status
from dwp_sweep.cli.settings import settings
from dwp_sweep.cli.storage import explain, gc, ls, sync
from dwp_sweep.cli.sweeps import demo, run, submit


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dwp-sweep")
def main() -> None:
    """Which way of transferring knowledge works best for my few labelled scans?

    Runs whole experiments (methods, training sizes, splits, settings) as one Ray Tune run, logs them to
    MLflow, and hands over the table, the best configuration and the trained model. Running a command
    again goes on where it stopped.

    Exit codes: 0 all done; 1 some node failed or was blocked, or the storage failed; 2 bad input, a file
    that cannot be written, or no machine that is large enough; 3 stopped by the budget; 130 interrupted.
    """


for command in (
    demo, init, run, submit, plan, ls, status, cancel, best, report, retrain, predict,
    export, register, explain, sync, gc, data,
    settings, bench,
):  # fmt: skip
    main.add_command(command)
