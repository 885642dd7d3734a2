from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from dwp_sweep.data.cache import cases as cache
from dwp_sweep.data.cache.cases import load_cases
from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.errors import InputError, StopTrial


@pytest.fixture
def config(tmp_path, write_msd) -> DatasetConfig:
    return DatasetConfig(layout="msd", root=str(write_msd(tmp_path / "set", 3)))


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "volumes").iterdir())


def load(config: DatasetConfig, folder: Path) -> tuple[cache.Case, ...]:
    return load_cases(config, list_subjects(config), folder)


def test_cases_are_read_only_memory_maps_in_the_order_asked_for(config, tmp_path):
    subjects = list_subjects(config)[::-1]
    seen: list[tuple[int, int]] = []

    cases = load_cases(config, subjects, tmp_path / "cache", lambda done, total: seen.append((done, total)))

    assert [case.id for case in cases] == ["case_02", "case_01", "case_00"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for case in cases:
        assert isinstance(case.image, np.memmap) and isinstance(case.mask, np.memmap)
        assert (case.image.dtype, case.mask.dtype) == (np.float32, np.uint8)
        assert case.image.shape == (1, *case.mask.shape)
        with pytest.raises(ValueError, match="read-only"):
            case.image[0, 0, 0, 0] = 1


def test_a_case_knows_the_foreground_that_its_crop_lost(config, tmp_path):
    small = config.model_copy(update={"preprocess": PreprocessConfig(shape=(3, 2, 3))})
    (whole, *_), (cropped, *_) = (load(settings, tmp_path / "cache") for settings in (config, small))

    assert whole.lost.shape == (0, 3)
    assert len(cropped.lost) > 0
    assert len(cropped.lost) + cropped.mask.sum() == whole.mask.sum()


def test_a_second_load_prepares_nothing_again(config, tmp_path, monkeypatch):
    first = load(config, tmp_path / "cache")
    monkeypatch.setattr(cache, "preprocess", lambda *_: pytest.fail("prepared again"))

    second = load(config, tmp_path / "cache")

    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.mask, two.mask)


@pytest.mark.parametrize(
    "update",
    [
        {"labels": (2,)},
        {"preprocess": PreprocessConfig(shape=(8, 8, 8))},
        {"preprocess": PreprocessConfig(percentiles=(5, 95))},
    ],
)
def test_other_settings_have_entries_of_their_own(config, tmp_path, update):
    load(config, tmp_path / "cache")
    load(config.model_copy(update=update), tmp_path / "cache")

    assert len(entries(tmp_path / "cache")) == 6


def test_settings_that_change_no_voxel_share_the_entries(config, tmp_path):
    load(config, tmp_path / "cache")
    load(config.model_copy(update={"n_test": 1, "subjects": "0:2", "fingerprint": "x"}), tmp_path / "cache")

    assert len(entries(tmp_path / "cache")) == 3


def test_a_changed_scan_is_never_served_from_before(config, tmp_path, write_scan, mask):
    load(config, tmp_path / "cache")
    write_scan(list_subjects(config)[0].mask, np.zeros_like(mask()))

    assert not load(config, tmp_path / "cache")[0].mask.any()


@pytest.mark.parametrize("name", ["image.npy", "mask.npy", "lost.npy", "meta.json"])
@pytest.mark.parametrize("keep", [0, 20])
def test_a_damaged_entry_is_built_again(config, tmp_path, name, keep):
    before = [np.array(case.image) for case in load(config, tmp_path / "cache")]
    for path in (tmp_path / "cache" / "volumes").glob(f"*/{name}"):
        path.write_bytes(path.read_bytes()[:keep])

    after = load(config, tmp_path / "cache")

    assert len(entries(tmp_path / "cache")) == 3
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two.image)


def test_the_loser_of_a_race_uses_the_entry_of_the_winner(config, tmp_path, monkeypatch):
    real, folder = cache.preprocess, tmp_path / "cache"
    monkeypatch.setattr(cache, "entry_lock", lambda path: nullcontext(True))  # as where files have no locks

    def meanwhile_another_writer(*arguments):
        monkeypatch.setattr(cache, "preprocess", real)
        load(config, folder)
        return real(*arguments)

    monkeypatch.setattr(cache, "preprocess", meanwhile_another_writer)
    cases = load(config, folder)

    assert len(cases) == 3
    assert len(entries(folder)) == 3, "nothing half-written is left"


def _load_sum(config: DatasetConfig, folder: Path) -> float:
    return float(sum(case.image.sum() + case.mask.sum() for case in load(config, folder)))


@pytest.mark.slow
def test_processes_that_build_the_same_cache_at_once_all_get_it(config, tmp_path):
    folder = tmp_path / "cache"
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        sums = list(pool.map(_load_sum, [config] * 4, [folder] * 4))

    assert len(set(sums)) == 1
    assert len(entries(folder)) == 3


def test_a_scan_that_cannot_be_used_is_an_input_error(config, tmp_path, write_scan, image):
    write_scan(list_subjects(config)[1].image, np.zeros_like(image(0)))

    with pytest.raises(InputError, match=r"case_01.*constant image"):
        load(config, tmp_path / "cache")


def test_the_spacing_is_told_in_the_axes_of_the_case(tmp_path, write_scan, image, mask):
    affine = np.array([[0, 0, 3.0, 0], [2.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    write_scan(tmp_path / "i.nii.gz", image(0), affine)
    write_scan(tmp_path / "m.nii.gz", mask(), affine)
    (tmp_path / "pairs.csv").write_text("image,mask,subject\ni.nii.gz,m.nii.gz,s\n")
    config = DatasetConfig(layout="pairs", root=str(tmp_path))

    (case,) = load(config, tmp_path / "cache")

    assert case.spacing_mm == pytest.approx((3.0, 2.0, 1.0))


def test_every_modality_takes_part_in_the_key_and_comes_back(tmp_path, write_brats):
    patient = write_brats(tmp_path / "set", 2021)
    config = DatasetConfig(layout="brats", root=str(tmp_path / "set"), modality=("t2", "flair"))
    (case,) = load(config, tmp_path / "cache")
    (alone,) = load(config.model_copy(update={"modality": "t2"}), tmp_path / "cache")

    assert case.image.shape == (2, *case.mask.shape)
    np.testing.assert_array_equal(case.image[0], alone.image[0])
    second = patient / f"{patient.name}_flair.nii.gz"
    second.write_bytes((patient / f"{patient.name}_t1.nii.gz").read_bytes())
    (changed,) = load(config, tmp_path / "cache")
    assert len(entries(tmp_path / "cache")) == 3
    assert (changed.image[1] != case.image[1]).any()


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="needs /proc")
def test_a_case_that_was_read_holds_no_memory_and_no_file_afterwards(config, tmp_path):
    cases = load(config, tmp_path / "cache")
    total = sum(float(case.image.sum()) + int(case.mask.sum()) for case in cases)
    held = cases[0].image

    maps = Path("/proc/self/maps").read_text()

    assert total != 0 and maps.count(str(tmp_path / "cache")) == 1, "the one that is still in use"
    assert held.shape == cases[0].image.shape


def test_a_windowed_scan_is_padded_with_the_lowest_value_and_others_with_zero(config, tmp_path):
    window = config.model_copy(update={"preprocess": PreprocessConfig(window=(0, 200))})

    assert {case.background for case in load(config, tmp_path / "cache")} == {0.0}
    assert {case.background for case in load(window, tmp_path / "cache")} == {-1.0}
    assert {case.background for case in load(window, tmp_path / "cache")} == {-1.0}, "from the cache, too"


def test_the_problems_of_all_scans_are_told_at_once(config, tmp_path, write_scan, image):
    for subject in list_subjects(config)[1:]:
        write_scan(subject.image, np.zeros_like(image(0)))

    with pytest.raises(InputError) as caught:
        load(config, tmp_path / "cache")

    assert len(caught.value.problems) == 2


def test_scans_are_prepared_side_by_side(config, tmp_path, monkeypatch):
    together, real = threading.Barrier(3), cache.preprocess

    def waits_for_the_others(*arguments):
        together.wait(timeout=60)
        return real(*arguments)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(cache, "preprocess", waits_for_the_others)

    assert [case.id for case in load(config, tmp_path / "cache")] == ["case_00", "case_01", "case_02"]


def build_slowly(config: DatasetConfig, folder: Path, log: Path, hangs_at: str = "") -> None:
    """What a worker does, with a note for each entry that it builds; it may hang in one of them."""
    real = cache.read_pair

    def noted(subject, settings):
        with log.open("a") as file:
            file.write(f"{subject.id}\n")
        time.sleep(100 if subject.id == hangs_at else 0.05)
        return real(subject, settings)

    cache.read_pair = noted
    load(config, folder)


def begun(log: Path) -> list[str]:
    return log.read_text().split() if log.is_file() else []


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.02)


def test_processes_that_need_the_same_entries_build_each_of_them_once(config, tmp_path):
    folder, log = tmp_path / "cache", tmp_path / "log"
    context = get_context("fork")
    workers = [
        context.Process(target=build_slowly, args=(config, folder, log), daemon=True) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(begun(log)) == ["case_00", "case_01", "case_02"]
    assert len(entries(folder)) == 3
    assert not list((folder / "locks").iterdir())


def test_what_a_killed_builder_had_in_hand_is_built_by_who_waited_for_it(config, tmp_path):
    folder, log = tmp_path / "cache", tmp_path / "log"
    context = get_context("fork")
    victim = context.Process(
        target=build_slowly, args=(config, folder, tmp_path / "first", "case_00"), daemon=True
    )
    victim.start()
    until(lambda: "case_00" in begun(tmp_path / "first"))
    other = context.Process(target=build_slowly, args=(config, folder, log), daemon=True)
    other.start()
    until(lambda: len(begun(log)) == 2 and len(entries(folder)) == 2)
    time.sleep(3 * cache.LOOK_EVERY_S)

    assert "case_00" not in begun(log), "the other one takes what is free first, and waits for the rest"
    victim.kill()
    other.join(60)

    assert other.exitcode == 0 and begun(log)[-1] == "case_00"
    assert len(entries(folder)) == 3 and len(load(config, folder)) == 3


def test_a_lock_that_nobody_gives_back_is_not_waited_for_for_ever(config, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(cache, "entry_lock", lambda path: nullcontext(False))
    monkeypatch.setattr(cache, "PATIENCE_S", 0.3)
    monkeypatch.setattr(cache, "LOOK_EVERY_S", 0.01)
    told: list[tuple[int, int]] = []

    cases = load_cases(config, list_subjects(config), folder, lambda *counts: told.append(counts))

    assert len(cases) == 3
    assert told.count((0, 3)) > 1, "who waits may still be asked to leave"


def test_what_a_builder_left_long_ago_is_removed_by_the_next_one(config, tmp_path):
    folder = tmp_path / "cache"
    load(config, folder)
    for name in entries(folder):
        entry = folder / "volumes" / name
        entry.rename(entry.with_name(f".{name}.left"))
        os.utime(entry.with_name(f".{name}.left"), (0, 0))

    load(config, folder)

    assert len(entries(folder)) == 3 and not any(name.startswith(".") for name in entries(folder))


def test_the_caller_may_leave_while_scans_are_prepared(config, tmp_path):
    def leave(done, total):
        raise StopTrial("the run is stopping")

    with pytest.raises(StopTrial):
        load_cases(config, list_subjects(config), tmp_path / "cache", leave)
