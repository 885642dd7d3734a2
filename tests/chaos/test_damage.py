"""Files that are half there or wrong are said and built again; a full disk ends a run in good order."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import MANIFEST
from tests.chaos.account import Account
from tests.chaos.conftest import Site, make_site
from tests.chaos.stages import chaos_sweep, read_log

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def flip(path: Path, chance: random.Random) -> None:
    """One wrong bit."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def test_a_half_written_and_a_flipped_artifact_are_said_and_built_again(
    site: Site, calm: Account, chance: random.Random
) -> None:
    site.run()
    store, nodes = LocalStore(site.root), {str(n.config["name"]): n for n in chaos_sweep().nodes.values()}
    flipped, half, upstream = "deep_weight_prior0", "fine_tune1", "prior1"
    flip(
        store.node_dir("target", nodes[flipped].key) / chance.choice(["weights.json", "figures/curve.txt"]),
        chance,
    )
    flip(store.node_dir("prior", nodes[upstream].key) / "weights.json", chance)
    folder = store.node_dir("target", nodes[half].key)
    (folder / MANIFEST).unlink()
    os.truncate(folder / "weights.json", chance.randrange(100))
    left = store.new_out_dir("target", nodes[half].key)  # as of a worker that died while it wrote
    (left / "weights.json").write_text("[0.1, ")
    n_lines = len(read_log(site.log))

    site.run()
    for name in (flipped, upstream):
        assert f"{nodes[name].title} is damaged and will be built again" in site.output
    built = {line.name for line in read_log(site.log)[n_lines:]}
    assert built == {flipped, half, upstream}
    site.check(calm, rebuilt=frozenset(built))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_ends_the_run_with_a_word_and_the_same_command_goes_on(
    small_disk: Path, empty_database: Path, calm: Account, chance: random.Random
) -> None:
    site = make_site(small_disk, empty_database)
    # Of the storage alone: what the test itself writes goes on.
    site.folder, uri = small_disk.parent, f"sqlite:///{small_disk.parent}/mlflow.db"
    shutil.move(site.root / "mlflow.db", small_disk.parent / "mlflow.db")
    try:
        driver = site.start("--uri", uri)
        site.wait_until(chance, last=0.6)
        fill(small_disk / "ballast")
        site.end(driver, code=None)
        assert driver.returncode == 1, site.output[-3_000:]
        assert "No space left on device" in site.output and "Traceback" not in site.output
        (small_disk / "ballast").unlink()
        site.run("--uri", uri)
        site.check(calm, uri)
    finally:
        site.close()


def fill(path: Path) -> None:
    """Take all that is left, and go on taking what is given free for a while."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
