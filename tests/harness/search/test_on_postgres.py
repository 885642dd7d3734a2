"""A search whose studies are in a PostgreSQL: what a cluster without a shared folder has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.search.study_database import read_trials
from dwp_sweep.store.local.store import LocalStore
from tests.benchmarks.postgres import started_postgres, why_no_postgres
from tests.benchmarks.servers import free_port
from tests.harness.search.test_search_plan import Killed, drive
from tests.harness.toy_search import search_space, search_sweep

pytestmark = pytest.mark.slow  # a server is started


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if why := why_no_postgres():
        pytest.skip(why)
    with started_postgres("127.0.0.1", free_port()) as found:
        yield found


def toy(url: str, log: Path) -> Sweep:
    space = search_space(n_trials=6)
    return search_sweep(replace(space, searcher=space.searcher.model_copy(update={"storage": url})), log)


def test_a_killed_driver_s_search_goes_on_from_the_database(url: str, tmp_path: Path) -> None:
    log, store = tmp_path / "log.txt", LocalStore(tmp_path / "storage")

    def die(n_built: int) -> None:
        if n_built == 4:
            raise Killed

    with pytest.raises(Killed):
        drive(toy(url, log), store, built=die)
    _, search = drive(toy(url, log), store)
    found = read_trials("toy", store, url)
    assert search.is_finished and found is not None
    assert [one.state for one in found.trials] == ["complete"] * 6
    assert len({repr(one.values) for one in found.trials}) == 6
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)), "something was built twice"
    assert not list(store.root.rglob("optuna.db"))
