"""Machines of a Ray cluster are switched off in the middle of training."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.account import Account
from tests.chaos.conftest import Site
from tests.chaos.nodes import RayNode
from tests.chaos.stages import LOG

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

Start = Callable[..., RayNode]
HASTE = {
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_period_ms": "1000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}
"""Ray waits for lost machines for a minute by default."""


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """Starts nodes; all that a test left end with it."""
    site.environment |= HASTE
    nodes: list[RayNode] = []

    def start(name: str, head: str | None = None) -> RayNode:
        nodes.append(RayNode(site.folder, name, head, site.environment | {LOG: str(site.log)}))
        return nodes[-1]

    yield start
    site.close()
    for node in reversed(nodes):
        node.kill()


def test_a_machine_that_is_lost_costs_only_the_epoch_that_it_was_in(
    site: Site, start: Start, calm: Account, chance: random.Random
) -> None:
    head = start("head")
    other = start("other", head.address)
    driver = site.start("--address", head.address)
    lines = site.wait_until(chance, last=0.6)
    n_lines, there = len(lines), other.pids()
    site.wait_for(lambda lines: any(line.pid in other.pids() for line in lines[n_lines:]))
    other.kill()
    site.end(driver)
    assert there and not other.pids()
    site.check(calm)


def test_the_head_is_lost_with_everything_and_the_same_command_goes_on_on_a_new_one(
    site: Site, start: Start, calm: Account, chance: random.Random
) -> None:
    head = start("head")
    driver = site.start("--address", head.address)
    site.wait_until(chance, last=0.7)
    head.kill()
    site.end(driver, code=None)
    assert driver.returncode != 0, site.output[-3_000:]
    site.run("--address", start("new").address)
    site.check(calm)
