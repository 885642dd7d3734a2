"""NIfTI files with bytes changed or cut: read as finite numbers, or refused with the file's name."""

from __future__ import annotations

import gzip
import io
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwp_sweep.data.files.volumes import read_header, read_volume
from dwp_sweep.errors import InputError
from tests.security.fuzz_settings import many_inputs, same_inputs

FEW = same_inputs(60)
MANY = many_inputs(800)
_HEADER = 352


def valid(shape: tuple[int, ...], dtype: str) -> bytes:
    """A small valid file."""
    data = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    image = nib.Nifti1Image(data, np.diag([1.0, 2.0, 3.0, 1.0]))
    return bytes(image.to_bytes())


FILES = [valid((3, 4, 5), "float32"), valid((3, 4, 2), "int16"), valid((2, 3, 2, 2), "uint8")]


@st.composite
def hit_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Name and content: up to six bytes changed, most of them in the header; the end cut now and then."""
    hit = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 6))):
        last = len(hit) - 1 if draw(st.integers(0, 5)) == 0 else _HEADER - 1
        hit[draw(st.integers(0, last))] = draw(
            st.one_of(st.integers(0, 255), st.sampled_from([0, 127, 128, 255]))
        )
    content = bytes(hit[: draw(st.sampled_from([len(hit), len(hit), draw(st.integers(0, len(hit)))]))])
    if draw(st.booleans()):
        return "scan.nii", content
    packed = bytearray(gzip.compress(content, 1, mtime=0))
    if draw(st.integers(0, 2)) == 0:
        packed[draw(st.integers(0, len(packed) - 1))] ^= 1 << draw(st.integers(0, 7))
    return "scan.nii.gz", bytes(packed)


def check(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    logging.getLogger("nibabel").setLevel(logging.CRITICAL)
    for channel in (None, 0):
        try:
            header = read_header(path)
            assert np.isfinite(header.affine).all() and all(n > 0 for n in header.shape)
            volume = read_volume(path, channel)
            assert volume.data.shape == header.shape and np.isfinite(volume.data).all()
        except InputError as error:
            assert all(problem.where == str(path) and problem.what for problem in error.problems)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("field", ["srow_x", "qoffset_x", "quatern_b", "pixdim"])
@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_number_of_the_affine_that_is_not_finite_raises_no_warning(
    tmp_path: Path, field: str, value: float, codes: tuple[int, int]
) -> None:
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(FILES[0]))
    header["sform_code"], header["qform_code"] = codes
    header[field] = (
        np.where(np.arange(header[field].size) == 1, value, header[field]) if header[field].ndim else value
    )
    check(tmp_path, "scan.nii", header.binaryblock + FILES[0][len(header.binaryblock) :])


@FEW
@given(file=hit_files())
def test_a_volume_that_was_hit_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]
) -> None:
    check(tmp_path_factory.getbasetemp(), *file)


@pytest.mark.slow
@MANY
@given(file=hit_files())
def test_many_volumes_that_were_hit(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]
) -> None:
    check(tmp_path_factory.getbasetemp(), *file)
