"""What scans may take of a machine's or a container's memory, and threads that wait for it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dwp_sweep.data.files import free_memory as module
from dwp_sweep.data.files.free_memory import MemoryTurns, free_memory


@pytest.mark.parametrize(
    ("stat", "cached"),
    [
        ("anon 4000\nfile 900\nactive_file 300\ninactive_file 200\nshmem 400\n", 500),
        (
            "cache 900\nactive_file 10\ninactive_file 20\ntotal_active_file 300\ntotal_inactive_file 200\n",
            500,
        ),
        ("anon 4000\n", 0),
    ],
)
def test_a_container_may_leave_less_memory_than_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stat: str, cached: int
) -> None:
    monkeypatch.setattr(module, "_CONTROL_GROUPS", ((str(tmp_path), "max", "current"),))
    machine = free_memory()
    (tmp_path / "memory.stat").write_text(stat)
    (tmp_path / "current").write_text("1000\n")
    (tmp_path / "max").write_text("max\n")
    assert free_memory() > machine / 2
    (tmp_path / "max").write_text("5000\n")
    assert free_memory() == 4000 + cached  # what was read from disk is given back when it is needed


@pytest.mark.parametrize(("n_bytes", "at_once"), [(10, 4), (30, 3), (40, 2), (60, 1), (500, 1)])
def test_as_many_work_at_once_as_memory_holds(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int, at_once: int
) -> None:
    monkeypatch.setattr(module, "free_memory", lambda: 100)
    turns, working, most = MemoryTurns(), set[int](), [0]
    # All that fit must be inside together before one of them may leave.
    together = threading.Barrier(at_once)

    def work(number: int) -> None:
        with turns.take(n_bytes):
            working.add(number)
            most.append(len(working))
            together.wait(timeout=60)
            working.discard(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4 if at_once != 3 else 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert max(most) == at_once


def test_work_that_fails_gives_its_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda: 100)
    turns = MemoryTurns()
    with pytest.raises(OSError, match="full"), turns.take(100):
        raise OSError("full")
    with turns.take(100):
        pass
