from __future__ import annotations

import errno
import fcntl
import threading
from pathlib import Path

import pytest

from dwp_sweep.data.cache.cases import entry_lock


def test_a_lock_has_one_holder_among_threads_and_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "entry"
    answers: list[bool] = []

    def ask() -> None:
        with entry_lock(path) as is_mine:
            answers.append(is_mine)

    with entry_lock(path) as is_mine:
        assert is_mine and path.read_text().split()[1].isdigit()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert answers == [False]
    assert not path.exists()
    ask()
    assert answers == [False, True]


def test_who_opened_the_file_before_its_holder_removed_it_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "entry", fcntl.flock
    seen: list[int] = []

    def removed_in_between(file: int, operation: int) -> None:
        real(file, operation)
        seen.append(file)
        if len(seen) == 1:
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", removed_in_between)
    with entry_lock(path) as is_mine:
        assert is_mine and path.exists() and len(seen) == 2
        with entry_lock(path) as other:
            assert not other


def test_where_the_file_system_has_no_locks_everybody_may_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with entry_lock(tmp_path / "entry") as first, entry_lock(tmp_path / "entry") as second:
        assert first and second


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"), entry_lock(tmp_path / "entry"):
        raise ValueError("bad")
    with entry_lock(tmp_path / "entry") as is_mine:
        assert is_mine
