from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import label

from dwp_sweep.data.check.check import check_dataset
from dwp_sweep.data.config import DatasetConfig, PhantomConfig
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.data.phantom.dataset import ensure_phantom, write_phantom
from dwp_sweep.data.phantom.subject import scan_subject, spacing_of
from dwp_sweep.errors import InputError

SOURCE, TARGET = (PhantomConfig(kind=kind, n_subjects=3) for kind in ("source", "target"))


@pytest.fixture(scope="module")
def scans():
    """Four subjects of each kind on a finer grid, where shapes can be told."""
    shape = (40, 40, 40)
    return {
        kind: [scan_subject(PhantomConfig(kind=kind, shape=shape), index) for index in range(4)]
        for kind in ("source", "target")
    }


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("config", [SOURCE, TARGET])
def test_equal_settings_give_equal_files(tmp_path, config):
    for name in ("one", "two"):
        write_phantom(config, tmp_path / name)

    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 7


def test_more_subjects_keep_the_first_ones_and_another_seed_changes_all():
    for index in range(2):
        few, many = (scan_subject(SOURCE.model_copy(update={"n_subjects": n}), index) for n in (2, 9))
        other = scan_subject(SOURCE.model_copy(update={"seed": 1}), index)
        np.testing.assert_array_equal(few.image, many.image)
        assert (few.image != other.image).mean() > 0.05
    assert (scan_subject(SOURCE, 0).image != scan_subject(SOURCE, 1).image).mean() > 0.05


@pytest.mark.parametrize("config", [SOURCE, TARGET])
def test_a_written_phantom_passes_the_check_of_real_data(tmp_path, config):
    write_phantom(config, tmp_path / "p")
    labels = (1, 2) if config.kind == "target" else None  # oedema and core; who leaves them out is warned
    report = check_dataset(DatasetConfig(layout="msd", root=str(tmp_path / "p"), labels=labels))

    assert (report.problems, report.warnings) == ((), ())
    assert len(report.subjects) == 3
    assert all(row.shape == (32, 32, 32) and row.foreground_share > 0 for row in report.subjects)


def test_source_and_target_are_two_diseases(scans):
    """Many small against one large lesion; thick slices against cubes."""
    n_parts = {kind: [label(scan.labels > 0)[1] for scan in found] for kind, found in scans.items()}
    shares = {
        kind: np.mean([(scan.labels > 0).sum() / (scan.image > 0).sum() for scan in found])
        for kind, found in scans.items()
    }
    largest = [
        np.bincount(label(scan.labels > 0)[0].flat)[1:].max() / (scan.labels > 0).sum()
        for scan in scans["target"]
    ]

    assert np.mean(n_parts["source"]) >= 4
    assert min(largest) > 0.8
    assert shares["target"] > 3 * shares["source"]
    assert {value for scan in scans["source"] for value in np.unique(scan.labels)} == {0, 1}
    assert {value for scan in scans["target"] for value in np.unique(scan.labels)} == {0, 1, 2}
    assert len(set(spacing_of(TARGET))) == 1
    assert spacing_of(SOURCE)[2] > 1.4 * spacing_of(SOURCE)[0]


def test_fluid_is_dark_in_the_source_and_as_bright_as_disease_in_the_target(scans):
    """No threshold solves the target task: that is what makes it a task."""
    for kind, brightest_is_ill in (("source", True), ("target", False)):
        ill_shares = []
        for scan in scans[kind]:
            bright = (scan.image > np.percentile(scan.image[scan.image > 0], 99.5)) & (scan.image > 0)
            ill_shares.append((scan.labels[bright] > 0).mean())
        assert (np.mean(ill_shares) > 0.5) == brightest_is_ill


@pytest.mark.parametrize("kind", ["source", "target"])
@pytest.mark.parametrize("shape", [(16, 16, 8), (40, 24, 20), (32, 32, 12)])
def test_the_head_fits_every_shape_and_is_ill(kind, shape):
    config = PhantomConfig(kind=kind, shape=shape)
    for index in range(3):
        scan = scan_subject(config, index)
        assert scan.image.shape == scan.labels.shape == shape
        assert scan.labels.any()
        assert not scan.image[[0, -1]].any() and not scan.image[:, [0, -1]].any()
        assert ((scan.labels > 0) <= (scan.image > 0)).all()


def test_a_complete_phantom_is_not_written_again_and_a_half_written_one_is_finished(tmp_path):
    root = tmp_path / "p"
    write_phantom(SOURCE, root)
    before = contents(root)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*.gz")}
    write_phantom(SOURCE, root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.gz")} == times

    (root / "dataset.json").unlink()
    (root / "labelsTr" / "plaques_0001.nii.gz").unlink()
    write_phantom(SOURCE, root)
    assert contents(root) == before


def test_a_phantom_that_lost_a_file_is_repaired(tmp_path):
    write_phantom(SOURCE, tmp_path / "p")
    before = contents(tmp_path / "p")
    for name in ("imagesTr/plaques_0000.nii.gz", "labelsTr/plaques_0001.nii.gz"):
        (tmp_path / "p" / name).unlink()
        write_phantom(SOURCE, tmp_path / "p")
        assert contents(tmp_path / "p") == before


def test_a_phantom_that_lost_whole_subjects_is_repaired(tmp_path):
    write_phantom(SOURCE, tmp_path / "p")
    before = contents(tmp_path / "p")
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "p" / folder / "plaques_0002.nii.gz").unlink()
    write_phantom(SOURCE, tmp_path / "p")

    assert contents(tmp_path / "p") == before


def test_a_phantom_whose_description_lost_subjects_is_repaired(tmp_path):
    write_phantom(SOURCE, tmp_path / "p")
    before = contents(tmp_path / "p")
    description = tmp_path / "p" / "dataset.json"
    values = json.loads(description.read_text())
    description.write_text(json.dumps(values | {"training": values["training"][:1]}))
    write_phantom(SOURCE, tmp_path / "p")

    assert contents(tmp_path / "p") == before


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, write_msd):
    write_phantom(SOURCE, tmp_path / "p")
    with pytest.raises(InputError, match="a phantom with other settings"):
        write_phantom(TARGET, tmp_path / "p")
    with pytest.raises(InputError, match="another data set"):
        write_phantom(SOURCE, write_msd(tmp_path / "real"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("words")
    with pytest.raises(InputError, match="other files"):
        write_phantom(SOURCE, tmp_path / "thesis")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_a_data_set_config_gets_the_root_of_its_phantom(tmp_path):
    config = DatasetConfig(layout="phantom", phantom=SOURCE)
    found, again = ensure_phantom(config, tmp_path), ensure_phantom(config, tmp_path)
    other = ensure_phantom(DatasetConfig(layout="phantom", phantom=TARGET), tmp_path)

    assert found == again
    assert found.root != other.root
    assert [subject.id for subject in list_subjects(found)] == [
        "plaques_0000",
        "plaques_0001",
        "plaques_0002",
    ]
    assert (
        json.loads((tmp_path / "phantom").joinpath(found.root, "dataset.json").read_text())["numTraining"]
        == 3
    )


def test_a_data_set_of_scans_is_returned_as_it_is(tmp_path):
    config = DatasetConfig(layout="msd", root="scans")

    assert ensure_phantom(config, tmp_path) is config
    assert not list(tmp_path.iterdir())
