"""A reader sees the old content or the new one, and a full disk is not filled with left-overs."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dwp_sweep import atomic_write
from dwp_sweep.atomic_write import ABANDONED_S, is_left_over, place_beside, replacing, write_whole
from dwp_sweep.data.cache.cases import publish_entry
from dwp_sweep.data.cache.memory import file_hashes, remember
from dwp_sweep.data.files.volumes import write_volume
from dwp_sweep.data.preprocess import Prepared
from dwp_sweep.store.local.store import FolderFiles
from dwp_sweep.store.record import write_json
from dwp_sweep.training.checkpoint import save_checkpoint


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("content", ["tumour: 3 mm²", b"\x00\xff"])
@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_written_over_what_was_there(tmp_path: Path, content: str | bytes, durable: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    write_whole(path, content, durable)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(tmp_path) == ["file"]


def test_what_an_error_interrupts_never_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_text("old")
    with pytest.raises(ValueError, match="bad"), replacing(path) as beside:
        assert beside.parent == tmp_path and beside.name.endswith("scan.nii.gz")
        beside.write_text("half")
        assert path.read_text() == "old"
        raise ValueError("bad")
    assert path.read_text() == "old" and names(tmp_path) == ["scan.nii.gz"]


def test_a_folder_that_stays_beside_its_place_is_removed(tmp_path: Path) -> None:
    with place_beside(tmp_path / "entry") as beside:
        (beside / "sub").mkdir(parents=True)
        (beside / "sub" / "half").write_text("x")
    assert names(tmp_path) == []


def test_what_lies_beside_a_place_for_long_is_a_left_over_by_its_name(tmp_path: Path) -> None:
    with place_beside(tmp_path / "meta.json") as beside:
        assert is_left_over(beside.name, ABANDONED_S + 1) and not is_left_over(beside.name, ABANDONED_S - 1)
    for name in (f".record.json.{'a' * 32}", f".{'b' * 32}.json", ".0123abcd.mask.nii.gz", ".run.0123abcd"):
        assert is_left_over(name, ABANDONED_S + 1), "older versions wrote such names"
    for name in ("record.json", ".turn", ".mlflow.db.lock", f"{'a' * 32}.json", ".hidden.txt"):
        assert not is_left_over(name, ABANDONED_S + 1)


PREPARED = Prepared(np.zeros((1, 2, 2, 2), np.float32), np.zeros((2, 2, 2), np.uint8), (1.0, 1.0, 1.0), 0, 0)
WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda folder: write_whole(folder / "file", "text"),
    "json": lambda folder: write_json(folder / "record.json", {}),
    "shared file": lambda folder: FolderFiles(folder).write("sweeps/toy/run-1.json", "{}"),
    "created file": lambda folder: FolderFiles(folder).create("work/source/key/lease-1.json", "{}"),
    "checkpoint": lambda folder: save_checkpoint(folder / "checkpoint", {"a": torch.zeros(3)}, {}),
    "volume": lambda folder: write_volume(folder / "scan.nii.gz", np.zeros((2, 2, 2), np.float32), np.eye(4)),
    "cache entry": lambda folder: publish_entry(PREPARED, folder / "volumes" / "entry"),
    "remembered check": lambda folder: remember(folder / "checks" / "check.json", {}),
    "fingerprints": lambda folder: file_hashes([Path(__file__)], folder / "cache"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_keeps_nothing_of_what_did_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    begun: list[Path] = []

    def full(self: Path, content: Any, *_: object, **__: object) -> int:
        with self.open("wb") as file:
            file.write(b"as much as there was room for")
        begun.append(self)
        raise OSError(errno.ENOSPC, "No space left on device")

    def full_save(what: Any, path: Any, *more: Any, **_: object) -> None:
        full(next(Path(place) for place in (what, path) if isinstance(place, str | Path)), b"")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr("numpy.save", full_save)
    monkeypatch.setattr("nibabel.save", full_save)
    monkeypatch.setattr("dwp_sweep.training.checkpoint.save_file", full_save)
    with pytest.raises(OSError, match="No space left"):
        WRITERS[kind](tmp_path)
    assert begun and not [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".")]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_disk_that_is_full_at_the_sync_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_write, "sync_file", full)
    monkeypatch.setattr("dwp_sweep.data.cache.cases.sync_file", full)
    try:
        WRITERS[kind](tmp_path)
    except OSError:
        assert not [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".")]
    else:
        assert kind in {"created file", "volume", "remembered check", "fingerprints"}, (
            "these wait for no disk"
        )
