from __future__ import annotations

import math

import pytest

from dwp_sweep.bench.frame import Setting
from tests.benchmarks.chatty import chatty_sweep, value
from tests.benchmarks.load import between_starts, growth, load


def test_growth_compares_the_last_quarter_with_the_second() -> None:
    flat = [(float(second), 100.0) for second in range(20)]
    assert growth(flat) == (100.0, 100.0)
    loading = [(0.0, 10.0)] * 5 + [(0.0, 100.0)] * 5 + [(0.0, 150.0)] * 5 + [(0.0, 200.0)] * 5
    assert growth(loading) == (100.0, 200.0)
    assert growth([(0.0, 7.0)]) == (7.0, 7.0)


def test_the_first_starts_do_not_count() -> None:
    starts = [0.0, *(100.0 + 2.0 * place for place in range(19))]
    assert between_starts(starts) == 2.0
    assert between_starts([3.0, 1.0, 2.0]) == 1.0


def test_no_two_nodes_tell_the_same_value_in_the_same_place() -> None:
    sweep = chatty_sweep("load", 50, 3, 2)
    assert len(sweep.nodes) == 50
    assert len({value(number, 2, 1) for number in range(2_000)}) == 2_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_bench_finds_every_value_once() -> None:
    rows = {row.name: row for row in load(Setting(quick=True))}
    assert list(rows) == ["untracked", "tracked", "cost", "memory"]
    extra = rows["tracked"].extra
    assert (extra["told"], extra["lost"], extra["doubled"], extra["finished runs"]) == (36, 0, 0, 6)
    assert "MLflow on " in rows["tracked"].what
    for row in rows.values():
        assert row.what and row.ratio is not None and math.isfinite(row.ratio)
