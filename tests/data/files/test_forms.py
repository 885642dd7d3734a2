from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.files.forms import doubts_of, orientation
from dwp_sweep.data.files.volumes import read_header, read_volume, write_volume
from dwp_sweep.data.pair import Pair
from dwp_sweep.data.preprocess import preprocess
from dwp_sweep.errors import InputError

TURNED = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.1), (5.0, -7.0, 11.0))
PLAIN = nib.affines.from_matvec(np.diag([2.0, 1.0, 3.0]), (-4.0, 8.0, 2.0))


def write(
    path: Path, image: np.ndarray, sform=None, qform=None, unit: str = "mm", kind=nib.Nifti1Image
) -> Path:
    """A scan with just these forms; a form of None gets the code 0."""
    scan = kind(image, np.eye(4))
    scan.set_sform(sform if sform is not None else np.eye(4), 2 if sform is not None else 0)
    scan.set_qform(qform if qform is not None else np.eye(4), 1 if qform is not None else 0)
    scan.header.set_xyzt_units(unit)
    nib.save(scan, path)
    return path


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1), ("meter", 1000), ("micron", 0.001), ("unknown", 1)])
def test_affines_and_voxel_sizes_are_in_mm_whatever_the_unit(tmp_path, image, unit, mm):
    stored = nib.affines.from_matvec(PLAIN[:3, :3] / mm, PLAIN[:3, 3] / mm)
    header = read_header(write(tmp_path / "a.nii.gz", image(0), stored, stored, unit))

    np.testing.assert_allclose(header.affine, PLAIN, rtol=1e-6)
    np.testing.assert_allclose(header.spacing_mm, (2, 1, 3), rtol=1e-6)
    np.testing.assert_allclose(header.forms.qform, PLAIN, rtol=1e-6)
    assert header.forms.unit == unit
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").affine, PLAIN, rtol=1e-6)


def test_the_sform_comes_before_the_qform_and_that_before_the_middle(tmp_path, image):
    both = read_header(write(tmp_path / "both.nii", image(0), PLAIN, TURNED))
    only = read_header(write(tmp_path / "only.nii", image(0), None, TURNED))
    none = read_header(write(tmp_path / "none.nii", image(0)))

    np.testing.assert_allclose(both.affine, PLAIN, atol=1e-6)
    np.testing.assert_allclose(both.forms.qform, TURNED, atol=1e-6)
    np.testing.assert_allclose(only.affine, TURNED, atol=1e-6)
    assert only.forms.sform is None
    np.testing.assert_allclose(none.affine, nib.load(tmp_path / "none.nii").affine)
    assert none.forms.sform is None and none.forms.qform is None


def test_a_qform_that_is_none_does_no_harm_beside_an_sform(tmp_path, image):
    path = write(tmp_path / "a.nii", image(0), PLAIN, PLAIN)
    header = nib.load(path).header
    for name in ("quatern_b", "quatern_c", "quatern_d"):
        header[name] = 2.0
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])

    np.testing.assert_allclose(read_header(path).affine, PLAIN)
    assert read_header(path).forms.qform is None


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("unit", ["mm", "micron", "unknown"])
@pytest.mark.parametrize(
    ("sform", "qform"), [(PLAIN, TURNED), (PLAIN, None), (None, TURNED), (None, None), (PLAIN, PLAIN)]
)
def test_what_is_written_with_a_scans_forms_says_the_same_bit_by_bit(
    tmp_path, image, mask, kind, unit, sform, qform
):
    path = write(tmp_path / "scan.nii.gz", image(0), sform, qform, unit, kind)
    write_volume(tmp_path / "mask.nii.gz", mask(), read_header(path).forms)

    scan, written = nib.load(path), nib.load(tmp_path / "mask.nii.gz")
    assert type(written) is type(scan)
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(written.dataobj, mask())
    np.testing.assert_array_equal(written.affine, scan.affine)
    assert written.header.get_xyzt_units()[0] == unit
    for name in ("qform_code", "sform_code", "srow_x", "srow_z", "quatern_b", "qoffset_y"):
        np.testing.assert_array_equal(written.header[name], scan.header[name])
    np.testing.assert_array_equal(written.header["pixdim"][:4], scan.header["pixdim"][:4])


def test_tiny_voxels_are_a_3d_space_and_a_flat_affine_is_none(tmp_path, image):
    tiny = np.diag([0.0005, 0.0005, 0.0005, 1.0])
    assert read_header(write(tmp_path / "tiny.nii", image(0), tiny)).spacing_mm == pytest.approx([0.0005] * 3)

    flat = np.diag([100.0, 100.0, 100.0, 1.0])
    flat[:3, 2] = flat[:3, 0]
    with pytest.raises(InputError, match="does not map voxels to a 3D space"):
        read_header(write(tmp_path / "flat.nii", image(0), flat))


@pytest.mark.parametrize("spacing", [None, 1.5])
def test_a_scan_in_microns_gives_the_input_of_the_same_scan_in_mm(tmp_path, image, mask, spacing):
    prepared = []
    for unit, mm in (("mm", 1), ("micron", 0.001)):
        stored = nib.affines.from_matvec(PLAIN[:3, :3] / mm, PLAIN[:3, 3] / mm)
        volume = read_volume(write(tmp_path / f"{unit}.nii.gz", image(0), stored, unit=unit))
        settings = PreprocessConfig(spacing_mm=None if spacing is None else (spacing,) * 3)
        config = DatasetConfig(layout="msd", root="/", preprocess=settings)
        prepared.append(preprocess(Pair(volume, mask().astype(np.int32), (0, 1, 2)), config))

    np.testing.assert_allclose(prepared[0].image, prepared[1].image, atol=1e-4)
    np.testing.assert_array_equal(prepared[0].mask, prepared[1].mask)
    np.testing.assert_allclose(prepared[0].spacing_mm, prepared[1].spacing_mm, rtol=1e-5)


def test_voxels_of_a_micron_are_resampled_as_voxels_of_a_millimetre_are(tmp_path, image, mask):
    prepared = []
    for size in (1.0, 0.001):
        volume = read_volume(write(tmp_path / f"{size}.nii.gz", image(0), np.diag([size, size, size, 1])))
        settings = PreprocessConfig(spacing_mm=(1.7 * size, 1.3 * size, size))
        config = DatasetConfig(layout="msd", root="/", preprocess=settings)
        prepared.append(preprocess(Pair(volume, mask().astype(np.int32), (0, 1, 2)), config))

    np.testing.assert_allclose(prepared[0].image, prepared[1].image, atol=1e-3)
    np.testing.assert_array_equal(prepared[0].mask, prepared[1].mask)


def test_a_qform_without_length_beside_a_good_sform_is_a_doubt_and_no_crash(tmp_path, image):
    path = write(tmp_path / "a.nii", image(0), PLAIN, PLAIN)
    header = nib.load(path).header
    header["pixdim"][1] = 0
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])

    forms = read_header(path).forms
    (doubt,) = doubts_of(forms, (10, 12, 8))
    assert "differ" in doubt.what or "contradict" in doubt.what
    assert orientation(np.diag([1.0, 0.0, -1.0, 1.0])) == "R?I"
