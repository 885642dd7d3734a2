"""One real local Ray for all tests of the harness."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dwp_sweep.harness.cluster.ray_session import ray_session


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray that ``run_sweep`` finds and leaves running; workers find the toy stages by PYTHONPATH."""
    with ray_session():
        yield
