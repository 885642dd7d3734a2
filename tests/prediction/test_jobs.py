from __future__ import annotations

from pathlib import Path

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.prediction.jobs import Outputs, make_jobs, split_images


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for folder in ("t1", "t2"):
        (tmp_path / folder).mkdir()
        for name in ("b.nii.gz", "a.nii", ".hidden.nii.gz", "notes.txt"):
            (tmp_path / folder / name).touch()
    return tmp_path


def problems(images: list[Path], outputs: Outputs, force: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        make_jobs(images, outputs, force)
    return str(caught.value)


def test_commas_divide_channels_and_an_existing_name_with_a_comma_stays_one(tmp_path):
    odd = tmp_path / "a,b.nii.gz"
    odd.touch()

    assert split_images(str(odd)) == (odd,)
    assert split_images("t1.nii.gz, t2.nii.gz") == (Path("t1.nii.gz"), Path("t2.nii.gz"))


def test_a_folder_gives_a_job_for_each_nifti_file_with_results_of_its_name(scans):
    outputs = Outputs(scans / "masks", picture=scans / "pictures")
    jobs = make_jobs([scans / "t1", scans / "t2"], outputs)

    assert [job.images for job in jobs] == [
        (scans / "t1" / name, scans / "t2" / name) for name in ("a.nii", "b.nii.gz")
    ]
    assert [job.outputs.mask for job in jobs] == [scans / "masks" / name for name in ("a.nii", "b.nii.gz")]
    assert [job.outputs.picture for job in jobs] == [scans / "pictures" / name for name in ("a.png", "b.png")]


def test_an_image_into_an_existing_folder_keeps_its_name(scans):
    (scans / "out").mkdir()
    (job,) = make_jobs([scans / "t1" / "a.nii"], Outputs(scans / "out"))

    assert job.outputs.mask == scans / "out" / "a.nii"


def test_an_output_that_exists_is_refused_without_force(scans):
    image, mask = scans / "t1" / "a.nii", scans / "m.nii.gz"
    mask.touch()

    assert "exists already" in problems([image], Outputs(mask))
    assert make_jobs([image], Outputs(mask), force=True)[0].outputs.mask == mask


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
    assert "is no folder" in problems([scans / "t1", scans / "t2" / "b.nii.gz"], Outputs(scans / "out"))
    assert "there is no folder" in problems([scans / "t1"], Outputs(scans / "no" / "out"))
    assert "is a file" in problems([scans / "t1"], Outputs(scans / "t1" / "a.nii"))
