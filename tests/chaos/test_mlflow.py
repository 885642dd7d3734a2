"""MLflow is away, answers nonsense or loses its database: training goes on, and later all of it is there."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dwp_sweep.tracking.client import mlflow_client
from tests.chaos.account import Account, check_log
from tests.chaos.conftest import Site
from tests.chaos.servers import Postgres, Proxy
from tests.tracking.mlflow_server import Server

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


@pytest.fixture
def server(site: Site, empty_database: Path) -> Iterator[Server]:
    """A server over an empty database; it is not running yet."""
    database = site.folder / "served.db"
    shutil.copy(empty_database, database)
    made = Server(site.folder, f"sqlite:///{database}")
    yield made
    made.stop()


def test_mlflow_that_is_down_for_the_whole_sweep_gets_everything_from_the_next_run(
    site: Site, server: Server, calm: Account
) -> None:
    site.run("--uri", server.uri)
    assert "MLflow at" in site.output and "the same command sends them" in site.output
    check_log(site.log, site.root)
    server.start()
    site.run("--uri", server.uri)
    site.check(calm, server.uri)


def test_mlflow_that_dies_in_the_middle_costs_no_epoch_and_gets_the_rest_later(
    site: Site, server: Server, calm: Account, chance: random.Random
) -> None:
    server.start()
    driver = site.start("--uri", server.uri)
    site.wait_until(chance)
    server.stop()
    site.end(driver)
    check_log(site.log, site.root)
    server.start()
    site.run("--uri", server.uri)
    site.check(calm, server.uri)


@pytest.fixture
def proxy(site: Site, server: Server, chance: random.Random) -> Iterator[Proxy]:
    """Between the drivers, which are impatient, and the server, which runs."""
    server.start()
    site.environment |= IMPATIENT
    made = Proxy(server.port, chance, share=0.15, slow_s=4.0)
    yield made
    made.close()


def test_mlflow_that_answers_500_or_not_at_all_loses_and_doubles_nothing(
    site: Site, server: Server, proxy: Proxy, calm: Account, chance: random.Random
) -> None:
    proxy.is_bad = chance.random() < 0.3  # else it opens well and goes bad in the middle
    driver = site.start("--uri", proxy.uri)
    site.wait_until(chance, last=0.3)
    proxy.is_bad = True
    site.end(driver)
    check_log(site.log, site.root)
    assert proxy.n_failed > 0
    proxy.is_bad = False
    site.run("--uri", proxy.uri)
    site.check(calm, server.uri)


def test_runs_that_mlflow_made_without_its_answer_arriving_are_not_doubled(
    site: Site, server: Server, proxy: Proxy, calm: Account
) -> None:
    proxy.loses = "/runs/create"
    driver = site.start("--uri", proxy.uri)
    site.wait_for(bool)
    proxy.loses = ""
    site.end(driver)
    assert proxy.n_failed > 1, "the client did not ask again: the test shows nothing"
    site.run("--uri", proxy.uri)
    site.check(calm, server.uri)


@pytest.fixture
def postgres(site: Site) -> Iterator[Postgres]:
    folder = site.folder / "postgres"
    folder.mkdir()
    made = Postgres(folder)
    yield made
    made.stop("immediate")


def test_a_postgresql_that_is_restarted_under_mlflow_loses_nothing(
    site: Site, postgres: Postgres, calm: Account, chance: random.Random
) -> None:
    server = Server(site.folder, postgres.uri)
    server.start()
    try:
        driver = site.start("--uri", server.uri, env=IMPATIENT)
        site.wait_until(chance, last=0.6)
        postgres.stop(chance.choice(["fast", "immediate"]))
        site.wait_until(chance, first=0.62, last=0.8)
        postgres.start()
        site.end(driver)
        check_log(site.log, site.root)
        site.run("--uri", server.uri)
        site.check(calm, server.uri)
        assert mlflow_client(server.uri).get_experiment_by_name("chaos") is not None
    finally:
        server.stop()
