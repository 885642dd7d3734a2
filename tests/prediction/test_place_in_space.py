"""Results lie where the scan lies, for a reader that is not nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dwp_sweep
from tests.prediction.conftest import AFFINE

sitk = pytest.importorskip("SimpleITK")

SHIFTED = AFFINE + nib.affines.from_matvec(np.zeros((3, 3)), (10.0, 0.0, 0.0)) * [[1], [1], [1], [0]]
SHEARED = AFFINE @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
CASES = {
    "both forms, equal": (AFFINE, AFFINE, "mm"),
    "both forms, 10 mm apart": (AFFINE, SHIFTED, "mm"),
    "only an sform": (AFFINE, None, "mm"),
    "only a qform": (None, AFFINE, "mm"),
    "no form": (None, None, "mm"),
    "metres": (AFFINE, AFFINE, "meter"),
    "microns": (AFFINE, AFFINE, "micron"),
    "no form, in metres": (None, None, "meter"),
    "no unit": (AFFINE, AFFINE, "unknown"),
    "a sheared sform beside a qform": (SHEARED, AFFINE, "mm"),
    "mirrored": (AFFINE @ np.diag([-1, 1, 1, 1]), AFFINE @ np.diag([-1, 1, 1, 1]), "mm"),
}
MM = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}


def write(path: Path, scan: np.ndarray, sform, qform, unit: str) -> None:
    to_unit = np.diag([*[1 / MM[unit]] * 3, 1.0])
    image = nib.Nifti1Image(scan, to_unit @ AFFINE)
    image.set_sform(to_unit @ (AFFINE if sform is None else sform), 0 if sform is None else 2)
    image.set_qform(to_unit @ (AFFINE if qform is None else qform), 0 if qform is None else 1)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)


def place(path: Path) -> dict[str, tuple[float, ...]]:
    image = sitk.ReadImage(str(path))
    return {
        "size": image.GetSize(),
        "origin": image.GetOrigin(),
        "spacing": image.GetSpacing(),
        "direction": image.GetDirection(),
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("spacing", [None, (1.4, 1.1, 1.9)])
def test_simpleitk_places_scan_and_results_alike(storage, add_target, scan, tmp_path, case, spacing):
    image, results = tmp_path / "scan.nii.gz", [tmp_path / f"{name}.nii.gz" for name in "mpu"]
    write(image, scan, *CASES[case])

    key = add_target(preprocess={"spacing_mm": spacing})
    dwp_sweep.predict(key, image, results[0], probability=results[1], uncertainty=results[2], storage=storage)

    for result in results:
        assert place(result) == place(image)
        np.testing.assert_array_equal(nib.load(result).affine, nib.load(image).affine)


def test_a_volume_in_millilitres_does_not_depend_on_the_headers_unit(storage, add_target, scan, tmp_path):
    key, volumes = add_target(), []
    for unit in MM:
        write(tmp_path / f"{unit}.nii.gz", scan, AFFINE, AFFINE, unit)
        volumes.append(dwp_sweep.predict(key, tmp_path / f"{unit}.nii.gz", storage=storage).volume_ml)

    assert volumes[0] > 0
    np.testing.assert_allclose(volumes, volumes[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("case", "note"),
    [
        ("both forms, 10 mm apart", "its sform and qform differ: corners lie up to 10 mm apart"),
        ("no form", "has neither sform nor qform"),
        ("microns", "its unit of length is the micron"),
        ("both forms, equal", None),
        ("no unit", None),
    ],
)
def test_a_header_that_leaves_the_place_open_is_noted(storage, add_target, scan, tmp_path, case, note):
    write(tmp_path / "scan.nii.gz", scan, *CASES[case])
    notes = dwp_sweep.predict(add_target(), tmp_path / "scan.nii.gz", storage=storage).notes

    assert [note in found for found in notes] == ([] if note is None else [True])
