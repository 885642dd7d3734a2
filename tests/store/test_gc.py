"""What writers that are gone left beside their places is named by `gc`, and nothing of those at work."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dwp_sweep.atomic_write import ABANDONED_S, place_beside
from dwp_sweep.store.gc import collect, survey
from dwp_sweep.store.local.store import LocalStore

HEX = "0123456789abcdef" * 2
OLD = (
    f"cache/.{HEX}.json",  # fingerprints, of an older version
    f"cache/.file_hashes.json.{HEX}",
    f"cache/checks/.{HEX}.{HEX}.json",
    f"work/source/{HEX[:20]}/.checkpoint.{HEX}",
    "brought/.run.0123abcd/net.safetensors",
    f"phantom/{HEX[:16]}/imagesTr/.{HEX}.FLAIR_0000.nii.gz",
    f"sweeps/toy/.{HEX}.settings.json",
)
KEPT = (
    "cache/file_hashes.json",
    f"cache/volumes/{HEX}/image.npy",
    f"cache/locks/{HEX}",
    f"cache/.{'a' * 32}.json",  # of now
    "mlartifacts/.0123abcd.artifact",
    ".mlflow.db.lock",
)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    for name in (*OLD, *KEPT):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    return LocalStore(tmp_path)


def age(folder: Path) -> None:
    then = time.time() - ABANDONED_S - 60
    for path in folder.rglob("*"):
        if path.name != f".{'a' * 32}.json":
            os.utime(path, (then, then))


def test_what_lies_long_beside_its_place_goes_from_the_cache_and_everywhere(store: LocalStore) -> None:
    assert survey(store).garbage == ()
    age(store.root)
    before = survey(store)
    names = {name.removesuffix("/net.safetensors") for name in OLD}
    assert {part.path for part in before.garbage} == {store.root / name for name in names}
    assert {part.why for part in before.garbage} == {"temporary, of a writer that is gone"}
    assert collect(store, before) == before.n_bytes_garbage == len(OLD) * len(b"half")
    assert survey(store).garbage == () and all((store.root / name).exists() for name in KEPT)


def test_a_folder_in_which_somebody_still_writes_stays(store: LocalStore) -> None:
    with place_beside(store.root / "cache" / "volumes" / "entry") as beside:
        beside.mkdir()
        (beside / "image.npy").touch()
        (beside / "mask.npy").touch()
        age(store.root)
        (beside / "mask.npy").write_bytes(b"now")
        assert beside not in {part.path for part in survey(store).garbage}


def test_nothing_outside_the_storage_is_ever_removed(store: LocalStore) -> None:
    for name in ("", ".", "..", "cache/../..", "/etc"):
        with pytest.raises(ValueError, match="is not in the storage"):
            store.remove(name)
