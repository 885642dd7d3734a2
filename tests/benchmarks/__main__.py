"""``python -m tests.benchmarks``, from the root of a clone: as ``dwp-sweep bench``, with all benches."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dwp_sweep.cli.bench import list_benches, run_benches
from dwp_sweep.cli.exits import BAD_INPUT, show_problems
from dwp_sweep.cli.options import bench_options
from dwp_sweep.errors import InputError, Problem
from tests.benchmarks.registry import BENCHES, ONLY_BY_NAME

ROOT = Path(__file__).resolve().parents[2]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@bench_options
@click.pass_context
def main(
    ctx: click.Context,
    names: tuple[str, ...],
    only_list: bool,
    threads: int | None,
    device: str,
    quick: bool,
    as_json: bool,
) -> None:
    """Run benches, all but the longest (load, subjects) without a NAME, and print a table of each.

    A ratio relates a version to its baseline, which took turns with it in the same process; below 1 is
    faster. Times of two commands or of two machines say little about each other.
    """
    _let_children_import_tests()
    try:
        if only_list:
            list_benches(BENCHES, as_json)
        else:
            chosen = _chosen(names)
            run_benches({name: BENCHES[name] for name in chosen}, threads, device, quick, as_json)
    except InputError as error:
        show_problems(error.problems)
        ctx.exit(BAD_INPUT)


def _let_children_import_tests() -> None:
    """Ray's workers and the benches' own processes load stages and modules from this folder."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), *paths]))


def _chosen(names: tuple[str, ...]) -> list[str]:
    known = ", ".join(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        raise InputError(
            Problem("bench", f"there is no {name!r}", f"choose from: {known}") for name in unknown
        )
    return list(dict.fromkeys(names)) or [name for name in BENCHES if name not in ONLY_BY_NAME]


if __name__ == "__main__":
    main(prog_name="python -m tests.benchmarks")
