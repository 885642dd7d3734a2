from __future__ import annotations

import os
import shutil

import pytest

from dwp_sweep.data.cache.memory import MEMORY_FILE, dataset_fingerprint, file_hashes
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.errors import InputError


@pytest.fixture
def config(tmp_path, write_msd) -> DatasetConfig:
    return DatasetConfig(layout="msd", root=str(write_msd(tmp_path / "set", 3)))


def fingerprint(config: DatasetConfig, memory=None) -> str:
    return dataset_fingerprint(config, list_subjects(config), memory)


def test_a_copy_elsewhere_has_the_same_fingerprint(config, tmp_path):
    shutil.copytree(config.root, tmp_path / "copy")
    copied = config.model_copy(update={"root": str(tmp_path / "copy")})

    assert fingerprint(copied) == fingerprint(config)


def test_other_voxels_other_subjects_and_other_splits_change_it(config, tmp_path, write_scan, mask):
    before = fingerprint(config)
    (tmp_path / "splits.csv").write_text("subject,split,role\n")

    assert fingerprint(config.model_copy(update={"subjects": "0:2"})) != before
    assert fingerprint(config.model_copy(update={"split_file": str(tmp_path / "splits.csv")})) != before
    write_scan(list_subjects(config)[0].mask, 1 - mask())
    assert fingerprint(config) != before


def test_swapped_images_change_it(config):
    before, (one, two, _) = fingerprint(config), list_subjects(config)
    first, second = one.image.read_bytes(), two.image.read_bytes()
    one.image.write_bytes(second)
    two.image.write_bytes(first)

    assert fingerprint(config) != before


def test_remembered_hashes_are_used_until_size_or_time_change(config, tmp_path):
    memory, image = tmp_path / "memory", list_subjects(config)[0].image
    status, before = image.stat(), file_hashes([image], memory)
    image.write_bytes(image.read_bytes()[::-1])

    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file_hashes([image], memory) == before

    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert file_hashes([image], memory) != before


def test_a_damaged_memory_only_costs_time(config, tmp_path):
    before = fingerprint(config, tmp_path)
    (tmp_path / MEMORY_FILE).write_text('{"half')

    assert fingerprint(config, tmp_path) == before


def test_a_split_file_that_is_missing_is_named(config, tmp_path):
    with pytest.raises(InputError, match=r"none\.csv"):
        fingerprint(config.model_copy(update={"split_file": str(tmp_path / "none.csv")}))
