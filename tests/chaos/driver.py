"""The driver that gets killed: ``python -m tests.chaos.driver STORAGE [--uri URI] [--address ADDRESS]``.

The public `api.run_sweep` from plan to parent run, as ``dwp-sweep run`` calls it; only the stages are ours.
"""

from __future__ import annotations

import argparse
import functools
import sys

from dwp_sweep.api import running
from dwp_sweep.errors import InputError
from dwp_sweep.harness import run as harness_run
from tests.chaos.stages import STAGES, chaos_sweep


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("storage")
    parser.add_argument("--uri")
    parser.add_argument("--address")
    given = parser.parse_args()
    harness_run.run_sweep = functools.partial(harness_run.run_sweep, stages=STAGES)  # type: ignore[assignment]
    running.read_sweep = lambda *arguments: chaos_sweep()  # type: ignore[assignment]
    try:
        run = running.run_sweep({}, given.storage, given.uri, address=given.address, say=say)
    except InputError as error:
        say(str(error))
        return 2
    return run.exit_code


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
