"""The wall clock is wrong, or jumps: nothing that matters is judged by it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.chaos.account import Account
from tests.chaos.conftest import Site
from tests.chaos.test_processes import kill

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

CLOCK = """
import os, time
_shift_s = float(os.environ["DWP_CHAOS_SHIFT_S"])
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _shift_s
time.time_ns = lambda: _time_ns() + round(_shift_s * 1e9)
"""
"""Python runs it at the start of every process that has it on its path: of drivers and their workers."""


@pytest.fixture
def clocks(site: Site, tmp_path: Path) -> Site:
    """A site whose drivers take ``DWP_CHAOS_SHIFT_S`` for their clock; files have the true times."""
    folder = tmp_path / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    site.environment["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    return site


def shifted(hours: float) -> dict[str, str]:
    return {"DWP_CHAOS_SHIFT_S": str(3600 * hours)}


def test_a_sweep_goes_on_after_the_clock_was_put_back_or_forward(
    clocks: Site, calm: Account, chance: random.Random
) -> None:
    first = clocks.start(env=shifted(chance.choice([-30, 30])))
    clocks.wait_until(chance, last=0.6)
    kill(first.pid)
    first.wait()
    clocks.run(env=shifted(0))
    clocks.check(calm)


def test_drivers_whose_clocks_differ_by_days_share_a_sweep(
    clocks: Site, calm: Account, chance: random.Random
) -> None:
    hours = chance.choice([-72, 72])
    first, second = clocks.start(env=shifted(0)), clocks.start(env=shifted(hours))
    clocks.end(first)
    clocks.end(second)
    clocks.check(calm)
