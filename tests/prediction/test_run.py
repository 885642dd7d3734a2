"""From files to files, through the public functions."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dwp_sweep
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.errors import InputError
from dwp_sweep.prediction import run as prediction_run
from dwp_sweep.prediction.segment import Segmentation
from tests.hostile_texts import WORST, assert_drawn, figures_saved
from tests.prediction.conftest import AFFINE, KEY, save_scan, voxels


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_results_lie_on_the_scans_own_grid(storage, add_target, scan, tmp_path):
    add_target(log_var=-3.0)
    image = save_scan(tmp_path / "in" / "t2.nii.gz", scan)
    out = tmp_path / "out"
    out.mkdir()

    found = dwp_sweep.predict(
        KEY,
        image,
        out / "m.nii.gz",
        probability=out / "p.nii.gz",
        uncertainty=out / "u.nii.gz",
        picture=out / "x.png",
        storage=storage,
        device="cpu",
    )

    assert files(out) == {"m.nii.gz", "p.nii.gz", "u.nii.gz", "x.png"}
    original = nib.load(image)
    for name in ("m.nii.gz", "p.nii.gz", "u.nii.gz"):
        written = nib.load(out / name)
        assert written.shape == original.shape
        np.testing.assert_array_equal(written.affine, original.affine)
    assert nib.load(out / "m.nii.gz").get_data_dtype() == np.uint8
    np.testing.assert_array_equal(voxels(out / "m.nii.gz"), found.mask)
    np.testing.assert_array_equal(voxels(out / "p.nii.gz"), found.probability)
    assert set(np.unique(found.mask)) == {0, 1} and 0 < found.uncertainty.max() <= np.log(2) + 1e-6
    assert (out / "x.png").read_bytes()[:4] == b"\x89PNG"


def test_all_results_are_of_the_estimate_that_is_asked_for(storage, add_target, scan, tmp_path):
    add_target(log_var=-3.0)
    image, passes = save_scan(tmp_path / "t2.nii.gz", scan), list[int]()
    found = {
        estimate: dwp_sweep.predict(
            KEY,
            image,
            tmp_path / f"{estimate}.nii.gz",
            probability=tmp_path / f"{estimate}_p.nii.gz",
            storage=storage,
            estimate=estimate,
            progress=lambda name, done, total: passes.append(total),
        )
        for estimate in ("draws", "mean")
    }

    for estimate, result in found.items():
        mask, probability = (voxels(tmp_path / f"{estimate}{end}.nii.gz") for end in ("", "_p"))
        np.testing.assert_array_equal(mask, probability > 0.5)
        np.testing.assert_array_equal(mask, result.mask)
    assert (found["draws"].probability != found["mean"].probability).any()
    assert set(passes) == {4, 1}
    default = dwp_sweep.predict(KEY, image, storage=storage)
    np.testing.assert_array_equal(default.mask, found["draws"].mask)


def test_without_a_file_nothing_is_written(storage, add_target, scan, tmp_path):
    image = save_scan(tmp_path / "in" / "t2.nii.gz", scan)

    assert dwp_sweep.predict(add_target(), image, storage=storage).mask.shape == scan.shape
    assert files(image.parent) == {"t2.nii.gz"}


def test_a_folder_in_a_folder_out(storage, add_target, scan, tmp_path):
    for name in ("b.nii.gz", "a.nii.gz"):
        save_scan(tmp_path / "in" / name, scan)
    seen: list[str] = []

    masks = dwp_sweep.predict_folder(
        add_target(),
        tmp_path / "in",
        tmp_path / "out",
        storage=storage,
        progress=lambda what, done, total: seen.append(f"{what} {done}/{total}"),
    )

    assert masks == (tmp_path / "out" / "a.nii.gz", tmp_path / "out" / "b.nii.gz")
    assert files(tmp_path / "out") == {"a.nii.gz", "b.nii.gz"}
    assert seen == [
        f"{n} of 2: {name}.nii.gz {done}/1" for n, name in ((1, "a"), (2, "b")) for done in (0, 1)
    ]
    with pytest.raises(InputError, match="exists already"):
        dwp_sweep.predict_folder(KEY, tmp_path / "in", tmp_path / "out", storage=storage)
    with pytest.raises(InputError, match="use predict_folder"):
        dwp_sweep.predict(KEY, tmp_path / "in", storage=storage)


def test_channels_are_given_in_the_order_of_the_training(storage, add_target, scan, tmp_path):
    add_target(layout="brats", modality=("t2", "flair"))
    t2, flair = (save_scan(tmp_path / f"{name}.nii.gz", scan + n) for n, name in enumerate(("t2", "flair")))

    both = dwp_sweep.predict(KEY, f"{t2},{flair}", storage=storage)
    listed = dwp_sweep.predict(KEY, [t2, flair], storage=storage)

    np.testing.assert_array_equal(both.probability, listed.probability)
    assert both.case.image.shape[0] == 2
    with pytest.raises(InputError, match=r"1 channel given.*trained on 2 channels \(t2, flair\).*2 images"):
        dwp_sweep.predict(KEY, t2, storage=storage)


def test_volumes_of_a_4d_file_are_those_of_the_training(storage, add_target, scan, tmp_path):
    add_target(channel=1)
    whole = save_scan(tmp_path / "4d.nii.gz", np.stack([scan[::-1], scan], axis=-1))
    alone = save_scan(tmp_path / "3d.nii.gz", scan)

    first, second = (dwp_sweep.predict(KEY, path, storage=storage) for path in (whole, alone))

    np.testing.assert_array_equal(first.probability, second.probability)
    add_target(key="ee" * 10)
    with pytest.raises(InputError, match=r"2 channels given.*trained on 1 channel.*one 3D image"):
        dwp_sweep.predict("ee" * 10, whole, storage=storage)


def test_images_that_cannot_be_used_are_refused_by_name(storage, add_target, scan, tmp_path):
    add_target()
    flat = save_scan(tmp_path / "flat.nii.gz", scan[:, :, 0])
    text = tmp_path / "text.nii.gz"
    text.write_text("no scan")
    empty = save_scan(tmp_path / "empty.nii.gz", np.zeros_like(scan))
    for path, words in (
        (flat, "2D image of shape 18x14 where 3D is expected"),
        (text, "cannot be read as NIfTI"),
        (tmp_path / "none.nii.gz", "there is no such file"),
        (empty, "constant image"),
    ):
        with pytest.raises(InputError, match=f"{path.name}.*{words}"):
            dwp_sweep.predict(KEY, path, tmp_path / "m.nii.gz", storage=storage)
    assert not (tmp_path / "m.nii.gz").exists()


def test_channels_on_different_grids_are_refused(storage, add_target, scan, tmp_path):
    add_target(layout="brats", modality=("t2", "flair"))
    moved = AFFINE.copy()
    moved[0, 3] += 5
    one, other = save_scan(tmp_path / "a.nii.gz", scan), save_scan(tmp_path / "b.nii.gz", scan, moved)

    with pytest.raises(InputError, match=r"b\.nii\.gz.*affine differs"):
        dwp_sweep.predict(KEY, [one, other], storage=storage)


def test_of_a_folder_all_headers_are_looked_at_before_anything_is_computed(
    storage, add_target, scan, tmp_path
):
    for name in ("a", "b"):
        save_scan(tmp_path / "in" / f"{name}.nii.gz", scan)
    save_scan(tmp_path / "in" / "c.nii.gz", scan[:, :, 0])
    (tmp_path / "in" / "d.nii.gz").write_text("no scan")

    with pytest.raises(InputError) as caught:
        dwp_sweep.predict_folder(add_target(), tmp_path / "in", tmp_path / "out", storage=storage)

    assert len(caught.value.problems) == 2 and not (tmp_path / "out").exists()


def test_one_bad_scan_of_a_folder_does_not_stop_the_others(storage, add_target, scan, tmp_path):
    for name in ("a", "c"):
        save_scan(tmp_path / "in" / f"{name}.nii.gz", scan)
    save_scan(tmp_path / "in" / "b.nii.gz", np.zeros_like(scan))
    holes = np.where(scan > 120, np.nan, scan).astype(np.float32)
    save_scan(tmp_path / "in" / "d.nii.gz", holes)

    with pytest.raises(InputError) as caught:
        dwp_sweep.predict_folder(add_target(), tmp_path / "in", tmp_path / "out", storage=storage)

    assert files(tmp_path / "out") == {"a.nii.gz", "c.nii.gz"}
    b, d = map(str, caught.value.problems)
    assert "b.nii.gz: constant image" in b and "d.nii.gz" in d and "NaN" in d


def test_all_problems_are_told_before_any_weights_are_read(storage, add_target, scan, tmp_path):
    add_target()
    (storage / "target" / KEY / "net.safetensors").unlink()
    image = save_scan(tmp_path / "4d.nii.gz", np.stack([scan, scan], axis=-1))
    mask = tmp_path / "m.nii.gz"
    mask.touch()

    with pytest.raises(InputError) as caught:
        dwp_sweep.predict(KEY, image, mask, picture=tmp_path / "x.jpg", storage=storage)

    text = str(caught.value)
    assert len(caught.value.problems) == 3
    for words in ("exists already", "is no name for the picture", "2 channels given", "one 3D image"):
        assert words in text
    mask.unlink()
    good = save_scan(tmp_path / "3d.nii.gz", scan)
    with pytest.raises(InputError, match=r"net\.safetensors"):
        dwp_sweep.predict(KEY, good, mask, storage=storage)


def test_a_run_that_is_none_is_told_with_what_else_is_wrong(storage, tmp_path):
    (tmp_path / "text.nii.gz").write_text("no scan")
    mask = tmp_path / "m.nii.gz"
    mask.touch()

    with pytest.raises(InputError) as caught:
        dwp_sweep.predict("0" * 32, tmp_path / "text.nii.gz", mask, storage=storage)

    told = [problem.what for problem in caught.value.problems]
    assert [what.split(":")[0] for what in told[:2]] == ["exists already", "cannot be read as NIfTI"]
    assert "begins no key" in told[2]


def test_a_missing_channel_of_a_folder_is_told_once(storage, add_target, scan, tmp_path):
    add_target(layout="brats", modality=("t2", "flair"))
    for name in ("a", "b"):
        save_scan(tmp_path / "t2" / f"{name}.nii.gz", scan)
    save_scan(tmp_path / "flair" / "a.nii.gz", scan)

    with pytest.raises(InputError) as caught:
        dwp_sweep.predict_folder(KEY, f"{tmp_path}/t2,{tmp_path}/flair", tmp_path / "out", storage=storage)

    assert [problem.where for problem in caught.value.problems] == [str(tmp_path / "flair" / "b.nii.gz")]


def test_nothing_half_written_is_left(storage, add_target, scan, tmp_path, monkeypatch):
    image = save_scan(tmp_path / "in" / "t2.nii.gz", scan)
    write, out = prediction_run.write_volume, tmp_path / "out"
    out.mkdir()

    def full_disk(path, *arguments):
        if "p.nii.gz" in path.name:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device", str(path))
        write(path, *arguments)

    monkeypatch.setattr(prediction_run, "write_volume", full_disk)
    with pytest.raises(OSError, match="No space left"):
        dwp_sweep.predict(
            add_target(), image, out / "m.nii.gz", probability=out / "p.nii.gz", storage=storage
        )

    assert files(out) == set()


def test_a_run_that_is_none_is_told(storage, add_target, tmp_path, scan):
    image = save_scan(tmp_path / "t2.nii.gz", scan)
    add_target("abcd" + "0" * 16)
    add_target("abcd" + "1" * 16)
    with pytest.raises(InputError, match="begins 2 keys: target abcd0"):
        dwp_sweep.predict("abcd", image, storage=storage)
    with pytest.raises(InputError, match="begins no key of a trained node"):
        dwp_sweep.predict("0" * 32, image, storage=storage)
    with pytest.raises(InputError, match="no MLflow database"):
        dwp_sweep.predict("best:demo", image, storage=storage)


@pytest.mark.parametrize("title", WORST[::3])
def test_a_picture_s_title_is_drawn_as_it_is(title, tmp_path, monkeypatch):
    mask = np.zeros((6, 6, 6), dtype=np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    entropy = np.full(mask.shape, 0.1, dtype=np.float32)
    case = Case(title, mask[None].astype(np.float32), mask)
    with figures_saved(monkeypatch) as saved:
        prediction_run.draw(
            Segmentation(mask, entropy, entropy, np.eye(4), 0.0, case, entropy), tmp_path / "x.png", title
        )
    assert_drawn(saved[0], title)
