"""The bench of many subjects: scans that count as different, and memory that is looked at."""

from __future__ import annotations

import mmap
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dwp_sweep.bench.frame import Setting
from dwp_sweep.data.cache.cases import load_cases
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.errors import InputError
from tests.benchmarks.scan_tree import ScanScale, write_tree
from tests.benchmarks.subjects import subjects
from tests.benchmarks.subjects_child import AnonymousPeak

TINY = ScanScale((24, 24, 16), (16, 16, 16))


def test_copies_of_a_scan_have_entries_of_their_own_and_the_same_voxels(tmp_path: Path) -> None:
    config = write_tree(tmp_path / "set", 3, TINY)
    cases = load_cases(config, list_subjects(config), tmp_path / "cache")

    assert len(list((tmp_path / "cache" / "volumes").iterdir())) == 3
    for case in cases:
        assert case.image.shape == (1, 16, 16, 16) and case.mask.any()
        np.testing.assert_array_equal(case.image, cases[0].image)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_peak_is_that_of_the_block_and_counts_no_mapped_file(tmp_path: Path) -> None:
    n_mb = 64
    np.save(tmp_path / "file.npy", np.ones(n_mb << 20, dtype=np.uint8))
    with AnonymousPeak() as mapped:
        mean = np.load(tmp_path / "file.npy", mmap_mode="r").mean()
        time.sleep(0.1)
    with AnonymousPeak() as filled:
        # Memory of its own: a process that ran other tests may give an array what it has kept from them.
        own = mmap.mmap(-1, n_mb << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block = np.frombuffer(own, dtype=np.uint8)
        block.fill(1)
        time.sleep(0.1)

    assert mean == 1 and block.any()
    assert mapped.mb < n_mb / 2 < n_mb <= filled.mb + 1


def test_a_disk_that_is_too_small_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1))

    with pytest.raises(InputError, match="TMPDIR"):
        subjects(Setting())


@pytest.mark.slow
def test_the_memory_of_both_numbers_is_measured() -> None:
    few, many = subjects(Setting(quick=True))

    assert few.ratio == 1 and few.goal is None and many.goal is not None
    assert all(row.seconds is not None and row.seconds > 0 for row in (few, many))
    assert all(row.extra["peak_mb"] > 0 for row in (few, many))
