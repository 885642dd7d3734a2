"""``dwp-sweep bench``: what a training step costs on this machine, as ratios measured in one process.

The options and what the command prints are also those of ``python -m tests.benchmarks``, the developers'
command for all other benches.
"""

from __future__ import annotations

import click

from dwp_sweep.cli import options

_OPTIONS = (
    click.argument("names", metavar="[NAME]...", nargs=-1),
    click.option("--list", "only_list", is_flag=True, help="List the benches and run none."),
    click.option(
        "--threads", type=click.IntRange(min=1), metavar="N", help="Of torch.  [default: all cores]"
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to compute; auto: a GPU if there is one.",
    ),
    click.option("--quick", is_flag=True, help="Tiny scale: shows that it works; the numbers mean nothing."),
    options.as_json,
)


def bench_options(command: options.CommandT) -> options.CommandT:
    """Which benches, where, at which scale, and how to print them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(short_help="Measure what a training step costs on this machine.")
@bench_options
def bench(
    names: tuple[str, ...], only_list: bool, threads: int | None, device: str, quick: bool, as_json: bool
) -> None:
    """Measure a training step (the bench `step`) and print a table; `plan` estimates hours by it.

    A ratio relates a version to its baseline, which took turns with it in the same process; below 1 is
    faster. Times of two commands or of two machines say little about each other. Developers find further
    benches in a clone of the repository: python -m tests.benchmarks --list
    """
    from dwp_sweep.bench.step import step
    from dwp_sweep.cli.bench_report import list_benches, run_benches
    from dwp_sweep.errors import InputError, Problem

    benches = {"step": step}
    if others := [name for name in names if name not in benches]:
        raise InputError(
            Problem(
                "bench",
                f"there is no {name!r} here, only step; developers' benches run in a clone of the"
                f" repository: python -m tests.benchmarks {name}",
            )
            for name in others
        )
    if only_list:
        list_benches(benches, as_json)
    else:
        run_benches(benches, threads, device, quick, as_json)
