"""Processes of a sweep are killed in the middle of it."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.chaos.account import Account
from tests.chaos.conftest import Site

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def kill(pid: int) -> None:
    """As the kernel does when memory is short: without a word."""
    os.kill(pid, signal.SIGKILL)


def test_a_worker_that_is_killed_costs_only_the_epoch_that_it_was_in(
    site: Site, calm: Account, chance: random.Random
) -> None:
    driver = site.start()
    for _ in range(2):
        n_lines = len(site.wait_until(chance))
        lines = site.wait_for(lambda lines: len(lines) > n_lines and lines[-1].what == "begin")  # noqa: B023
        kill(lines[-1].pid)
    site.end(driver)
    assert "its worker died" in site.output
    site.check(calm)


def test_a_driver_that_is_killed_goes_on_by_the_same_command(
    site: Site, calm: Account, chance: random.Random
) -> None:
    driver = site.start()
    site.wait_until(chance)
    kill(driver.pid)
    driver.wait()
    site.run()
    site.check(calm)
    site.run()  # once more: nothing is left to do, and nothing comes twice
    site.check(calm)


def test_two_drivers_share_one_sweep(site: Site, calm: Account, chance: random.Random) -> None:
    first = site.start()
    time.sleep(chance.uniform(0, 4))
    second = site.start()
    site.end(first)
    site.end(second)
    site.check(calm)


def test_a_driver_takes_over_what_another_one_died_over(
    site: Site, calm: Account, chance: random.Random
) -> None:
    first, second = site.start(), site.start()
    site.wait_until(chance, last=0.6)
    kill(first.pid)
    first.wait()
    site.end(second)
    site.check(calm)
