"""Every bench at its tiny scale: it runs and its rows are complete. What it measures is not looked at."""

from __future__ import annotations

import math

import pytest

from dwp_sweep.bench.frame import Setting
from tests.benchmarks.memory import memory
from tests.benchmarks.registry import BENCHES

OURS = ("augment", "bound", "data", "fraction", "noise")


@pytest.mark.parametrize("name", OURS)
def test_a_bench_runs_at_the_tiny_scale_and_its_rows_are_complete(name: str) -> None:
    rows = BENCHES[name](Setting(quick=True))
    names = [row.name for row in rows]
    assert len(set(names)) == len(names) > 1
    for row in rows:
        assert row.what and row.baseline in names
        assert row.seconds is not None and row.seconds > 0 and row.ratio is not None
        assert all(math.isfinite(value) for value in row.extra.values()), row
    assert {row.ratio for row in rows if row.name == row.baseline} == {1}


@pytest.mark.parametrize("name", sorted(BENCHES))
def test_a_bench_says_in_one_line_what_it_measures(name: str) -> None:
    first = (BENCHES[name].__doc__ or "").splitlines()[0]
    assert 20 < len(first) < 110 and first.endswith(".")


def test_the_versions_of_the_bound_compute_the_same_numbers() -> None:
    rows = {row.name: row for row in BENCHES["bound"](Setting(quick=True))}
    for name in ("dense", "used"):
        assert rows[name].extra["nats differ by"] < 1e-6
        assert rows[name].extra["gradient differs by"] < 1e-4
    assert rows["bf16"].extra["nats differ by"] > 1e-4


@pytest.mark.slow
def test_the_memory_bench_gives_a_peak_of_every_version() -> None:
    rows = memory(Setting(quick=True))
    peaks = [row.extra["peak_gb"] for row in rows if "peak_gb" in row.extra]
    assert len(peaks) == 6 and min(peaks) > 0
