"""``dwp-sweep bench``: what a training step costs on this machine, as ratios measured in one process."""

from __future__ import annotations

import click

from dwp_sweep.cli import options


@click.command(short_help="Measure what a training step costs on this machine.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="List the benches and run none.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Of torch.  [default: all cores]")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto: a GPU if there is one.",
)
@click.option("--quick", is_flag=True, help="Tiny scale: shows that it works; the numbers mean nothing.")
@options.as_json
def bench(
    names: tuple[str, ...], only_list: bool, threads: int | None, device: str, quick: bool, as_json: bool
) -> None:
    """Run benches, all but the longest (load, subjects) without a NAME, and print a table of each.

    A ratio relates a version to its baseline, which took turns with it in the same process; below 1 is
    faster. Times of two commands or of two machines say little about each other.
    """
    from dwp_sweep.cli.bench_report import list_benches, run_and_show

    if only_list:
        list_benches(as_json)
    else:
        run_and_show(names, threads, device, quick, as_json)
