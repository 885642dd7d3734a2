from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from dwp_sweep.data.files.volumes import read_header, read_volume, write_volume
from dwp_sweep.errors import InputError
from tests.data.files.problems import problem

AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])


def test_voxels_and_geometry_come_back_as_nibabel_wrote_them(tmp_path, write_scan, image):
    volume = read_volume(write_scan(tmp_path / "a.nii.gz", image(0), AFFINE))

    np.testing.assert_array_equal(volume.data, image(0))
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.spacing_mm == (2.0, 1.0, 3.0)
    assert volume.data.dtype == np.float32


def test_slope_and_intercept_of_the_header_are_applied(tmp_path):
    stored = nib.Nifti1Image(np.full((4, 4, 4), 10, dtype=np.int16), np.eye(4))
    stored.header.set_slope_inter(0.5, 3.0)
    nib.save(stored, tmp_path / "a.nii")
    scaled = nib.load(tmp_path / "a.nii").get_fdata()

    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").data, scaled)


def test_a_written_volume_reads_back_and_equal_input_gives_equal_bytes(tmp_path, mask):
    write_volume(tmp_path / "one" / "m.nii.gz", mask(), AFFINE)
    write_volume(tmp_path / "two" / "m.nii.gz", mask(), AFFINE)

    np.testing.assert_array_equal(read_volume(tmp_path / "one" / "m.nii.gz").data, mask())
    assert (tmp_path / "one" / "m.nii.gz").read_bytes() == (tmp_path / "two" / "m.nii.gz").read_bytes()
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["m.nii.gz"]


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in problem(tmp_path / "none.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_truncated_file_is_named(tmp_path, write_scan, image, name):
    path = write_scan(tmp_path / name, image(0))
    path.write_bytes(path.read_bytes()[:-200])

    assert "truncated" in problem(path)


@pytest.mark.parametrize("content", [b"", b"this is no image", b"\x1f\x8b broken gzip"])
def test_a_file_that_is_no_nifti_is_named(tmp_path, content):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)

    assert "cannot be read as NIfTI" in problem(path)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_name_that_does_not_fit_the_content_is_to_be_changed(tmp_path, image, kind):
    nib.save(kind(image(0), AFFINE), tmp_path / "plain.nii")
    nib.save(kind(image(0), AFFINE), tmp_path / "packed.nii.gz")
    plain = (tmp_path / "plain.nii").rename(tmp_path / "a.nii.gz")
    packed = (tmp_path / "packed.nii.gz").rename(tmp_path / "b.nii")

    for path, words, name in ((plain, "is no gzip file", "a.nii"), (packed, "is a gzip file", "b.nii.gz")):
        with pytest.raises(InputError) as caught:
            read_header(path)
        (only,) = caught.value.problems
        assert words in only.what and only.fix == f"rename it to {name}"
        np.testing.assert_array_equal(read_volume(path.rename(tmp_path / name)).data, image(0))


@pytest.mark.parametrize("name", ["A.NII", "A.NII.GZ"])
def test_case_of_an_ending_does_not_count(tmp_path, write_scan, image, name):
    path = write_scan(tmp_path / name.lower(), image(0)).rename(tmp_path / name)

    np.testing.assert_array_equal(read_volume(path).data, image(0))
    mixed = path.rename(tmp_path / "a.Nii.gz") if name == "A.NII.GZ" else path.rename(tmp_path / "a.Nii")
    assert "mixes small and large letters" in problem(mixed)


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.nrrd", "NRRD"), ("a.NHDR", "NRRD"), ("a.mha", "MetaImage"), ("a.mhd", "MetaImage")],
)
def test_formats_that_are_not_read_are_named(tmp_path, name, format):
    (tmp_path / name).write_bytes(b"NRRD0005")

    assert f"a file of {format}, a format that is not read" in problem(tmp_path / name)


def test_another_image_format_is_named(tmp_path):
    path = tmp_path / "a.mgz"
    nib.save(nib.MGHImage(np.ones((3, 3, 3), dtype=np.float32), np.eye(4)), path)

    assert "no NIfTI" in problem(path)


def test_a_4d_image_needs_a_channel_and_the_message_says_which_there_are(tmp_path, write_scan, image):
    path = write_scan(tmp_path / "a.nii.gz", np.stack([image(0), image(1)], axis=-1))

    assert "4D image of shape 10x12x8x2 where 3D is expected" in problem(path)
    np.testing.assert_array_equal(read_volume(path, channel=1).data, image(1))
    assert "channel 2 is not there" in problem(path, channel=2)
    assert read_header(path).n_channels == 2


def test_a_fourth_axis_of_one_is_taken_as_3d(tmp_path, write_scan, image):
    path = write_scan(tmp_path / "a.nii.gz", image(0)[..., None])

    np.testing.assert_array_equal(read_volume(path).data, image(0))


def test_a_2d_image_is_named(tmp_path, write_scan):
    assert "2D image" in problem(write_scan(tmp_path / "a.nii.gz", np.ones((5, 5), dtype=np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(tmp_path, write_scan, image, value):
    voxels = image(0)
    voxels[0, 0, :3] = value

    assert "3 of 960 voxels are NaN or infinite" in problem(write_scan(tmp_path / "a.nii.gz", voxels))


def test_doubles_too_large_for_single_precision_are_counted(tmp_path, write_scan):
    voxels = np.ones((3, 3, 3))
    voxels[1, 1, 1] = 1e300

    assert "1 of 27 voxels" in problem(write_scan(tmp_path / "a.nii.gz", voxels))


def test_colour_voxels_are_named(tmp_path):
    voxels = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")

    assert "no plain numbers" in problem(tmp_path / "a.nii.gz")


def test_an_affine_that_maps_to_no_space_is_named(tmp_path, image):
    flat = nib.Nifti1Image(image(0), np.eye(4))
    flat.header["srow_x"] = 0
    flat.header["sform_code"], flat.header["qform_code"] = 1, 0
    with (tmp_path / "a.nii").open("wb") as file:
        file.write(flat.header.binaryblock + b"\0\0\0\0" + image(0).tobytes(order="F"))

    assert "does not map voxels" in problem(tmp_path / "a.nii")
