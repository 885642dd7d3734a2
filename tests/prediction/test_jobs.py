from __future__ import annotations

from pathlib import Path

import pytest

from dwp_sweep.prediction.jobs import Outputs, PredictionJob, plan_jobs, split_images


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for folder in ("t1", "t2"):
        (tmp_path / folder).mkdir()
        for name in ("b.nii.gz", "a.nii", ".hidden.nii.gz", "notes.txt"):
            (tmp_path / folder / name).touch()
    return tmp_path


def problems(images: list[Path], outputs: Outputs, force: bool = False) -> str:
    found = plan_jobs(images, outputs, force).problems
    assert found and len(set(found)) == len(found)
    return "\n".join(map(str, found))


def good_jobs(images: list[Path], outputs: Outputs, force: bool = False) -> tuple[PredictionJob, ...]:
    plan = plan_jobs(images, outputs, force)
    assert plan.problems == ()
    return plan.jobs


def test_commas_divide_channels_and_an_existing_name_with_a_comma_stays_one(tmp_path):
    odd = tmp_path / "a,b.nii.gz"
    odd.touch()

    assert split_images(str(odd)) == (odd,)
    assert split_images("t1.nii.gz, t2.nii.gz") == (Path("t1.nii.gz"), Path("t2.nii.gz"))


def test_a_folder_gives_a_job_for_each_nifti_file_with_results_of_its_name(scans):
    outputs = Outputs(scans / "masks", picture=scans / "pictures")
    jobs = good_jobs([scans / "t1", scans / "t2"], outputs)

    assert [job.images for job in jobs] == [
        (scans / "t1" / name, scans / "t2" / name) for name in ("a.nii", "b.nii.gz")
    ]
    assert [job.outputs.mask for job in jobs] == [scans / "masks" / name for name in ("a.nii", "b.nii.gz")]
    assert [job.outputs.picture for job in jobs] == [scans / "pictures" / name for name in ("a.png", "b.png")]


def test_an_image_into_an_existing_folder_keeps_its_name(scans):
    (scans / "out").mkdir()
    (job,) = good_jobs([scans / "t1" / "a.nii"], Outputs(scans / "out"))

    assert job.outputs.mask == scans / "out" / "a.nii"


def test_an_output_that_exists_is_refused_without_force(scans):
    image, mask = scans / "t1" / "a.nii", scans / "m.nii.gz"
    mask.touch()

    assert "exists already" in problems([image], Outputs(mask))
    assert good_jobs([image], Outputs(mask), force=True)[0].outputs.mask == mask


def test_all_that_is_wrong_is_told_at_once(scans):
    image = scans / "t1" / "a.nii"
    text = problems(
        [image],
        Outputs(image, scans / "none" / "p.nii.gz", scans / "u.txt", scans / "x.jpg"),
        force=True,
    )

    assert "is the image itself" in text and f"there is no folder {scans / 'none'}" in text
    assert "is no name for the uncertainty" in text and "is no name for the picture (end it in .png)" in text


def test_one_file_for_two_results_is_refused(scans):
    assert "two results" in problems([scans / "t1" / "a.nii"], Outputs(scans / "m.nii", scans / "m.nii"))


def test_folders_that_do_not_match_are_refused(scans):
    (scans / "t2" / "a.nii").unlink()
    (scans / "empty").mkdir()

    assert "a.nii: is missing" in problems([scans / "t1", scans / "t2"], Outputs(scans / "out"))
    assert "holds no NIfTI file" in problems([scans / "empty"], Outputs(scans / "out"))
    (scans / "empty" / "a.nrrd").touch()
    (scans / "empty" / "._a.nii.gz").touch()
    assert "no NIfTI file, but NRRD, which is not read" in problems([scans / "empty"], Outputs(scans / "out"))
    assert "is no folder" in problems([scans / "t1", scans / "t2" / "b.nii.gz"], Outputs(scans / "out"))
    assert "there is no folder" in problems([scans / "t1"], Outputs(scans / "no" / "out"))
    assert "is a file" in problems([scans / "t1"], Outputs(scans / "t1" / "a.nii"))


@pytest.mark.parametrize(
    ("name", "is_mask"),
    [
        ("pat01_seg.nii.gz", True),
        ("BraTS-00001-seg.nii.gz", True),
        ("case_MASK.nii", True),
        ("label_01.nii.gz", True),
        ("labels.nii", True),
        ("pat01-label.nii.gz", True),
        ("mask.nii.gz", True),
        ("masked_t2.nii.gz", False),
        ("segment3.nii.gz", False),
        ("damask.nii.gz", False),
        ("pat01_seg_t2.nii.gz", False),
    ],
)
def test_masks_beside_the_scans_are_left_out_and_named(scans, name, is_mask):
    (scans / "t1" / name).touch()
    plan = plan_jobs([scans / "t1"], Outputs(scans / "out"))

    assert plan.problems == ()
    assert [path.name for path in plan.skipped] == [name] * is_mask
    assert (name in {job.name for job in plan.jobs}) is not is_mask


def test_a_mask_may_be_asked_for_by_name_and_a_folder_of_masks_is_no_folder_of_scans(scans):
    (scans / "masks").mkdir()
    mask = scans / "masks" / "a_seg.nii.gz"
    mask.touch()

    assert good_jobs([mask], Outputs(scans / "m.nii.gz"))[0].images == (mask,)
    assert "holds 1 NIfTI file(s), all named as masks" in problems([scans / "masks"], Outputs(scans / "out"))


def test_folders_within_a_folder_are_repeated_among_the_results(scans):
    inner = scans / "t1" / "site" / "p1"
    inner.mkdir(parents=True)
    (inner / "c.nii.gz").touch()

    jobs = good_jobs([scans / "t1"], Outputs(scans / "out", picture=scans / "pictures"))

    assert [job.images[0].name for job in jobs] == ["a.nii", "b.nii.gz", "c.nii.gz"]
    assert jobs[2].outputs.mask == scans / "out" / "site" / "p1" / "c.nii.gz"
    assert jobs[2].outputs.picture == scans / "pictures" / "site" / "p1" / "c.png"


@pytest.mark.parametrize("folder", ["labelsTr", "masks", "segmentations", "derivatives"])
def test_files_in_a_folder_of_masks_are_no_scans(scans, folder):
    (scans / "t1" / folder).mkdir()
    (scans / "t1" / folder / "a.nii").touch()

    plan = plan_jobs([scans / "t1"], Outputs(scans / "out"))

    assert plan.skipped == (scans / "t1" / folder / "a.nii",) and len(plan.jobs) == 2


def test_results_of_before_are_no_scans(scans):
    (scans / "t1" / "out").mkdir()
    (scans / "t1" / "out" / "a.nii").touch()

    assert len(good_jobs([scans / "t1"], Outputs(scans / "t1" / "out"), force=True)) == 2


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.NII", "look.png"])
def test_the_name_of_a_file_is_no_place_for_the_results_of_a_folder(scans, name):
    assert "is the name of a file" in problems([scans / "t1"], Outputs(scans / name))
