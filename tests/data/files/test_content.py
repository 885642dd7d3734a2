"""Damage of packed files: a flipped bit, a lost end, a header that promises more than there is."""

from __future__ import annotations

import bz2
import gzip
import resource
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dwp_sweep.data.files import volumes
from dwp_sweep.data.files.content import most_bytes, read_bytes
from dwp_sweep.data.files.volumes import read_volume
from dwp_sweep.errors import InputError
from tests.data.files.problems import problem

N_FLIPS = 400


@pytest.fixture
def scan(tmp_path, write_scan) -> Path:
    """A scan with texture, so that packing it leaves literal bytes that a flip changes."""
    voxels = np.zeros((24, 20, 18), dtype=np.int16)
    voxels[4:20, 3:17, 2:16] = np.random.default_rng(3).normal(500, 60, (16, 14, 14))
    return write_scan(tmp_path / "scan.nii.gz", voxels)


def test_no_flipped_bit_changes_voxels_in_silence(scan, tmp_path):
    good, voxels = scan.read_bytes(), read_volume(scan).data
    rng, damaged, n_noticed = np.random.default_rng(0), tmp_path / "damaged.nii.gz", 0
    for bit in rng.choice(8 * len(good), N_FLIPS, replace=False):
        content = bytearray(good)
        content[bit // 8] ^= 1 << (bit % 8)
        damaged.write_bytes(content)
        try:
            read = read_volume(damaged).data
        except InputError:
            n_noticed += 1
        else:
            np.testing.assert_array_equal(read, voxels, err_msg=f"bit {bit} changed voxels in silence")
    # The rest stands in gzip's own header: time and name of the file, which nothing reads.
    assert n_noticed > 0.98 * N_FLIPS


@pytest.mark.parametrize("lost", [1, 4, 8, 9, 200])
def test_a_file_that_lost_its_end_is_damaged_even_if_all_voxels_are_there(scan, lost):
    scan.write_bytes(scan.read_bytes()[:-lost])

    assert "truncated or damaged" in problem(scan)


@pytest.mark.parametrize("after", [b"\0" * 700, b"\0" * 200_000, b"garbage", b"\x1f\x8b no member", b"\n"])
def test_bytes_after_the_member_are_left_alone(scan, after):
    voxels = read_volume(scan).data
    scan.write_bytes(scan.read_bytes() + after)

    np.testing.assert_array_equal(read_volume(scan).data, voxels)


@pytest.mark.parametrize("padding", [0, 3, 100_000])
def test_several_members_are_one_content_as_for_gzip_and_each_is_checked(scan, padding):
    voxels, content = read_volume(scan).data, gzip.decompress(scan.read_bytes())
    members = [gzip.compress(content[first : first + 4000]) for first in range(0, len(content), 4000)]
    scan.write_bytes((b"\0" * padding).join(members))
    np.testing.assert_array_equal(read_volume(scan).data, voxels)

    bad = bytearray(members[1])
    bad[-6] ^= 1  # of the checksum
    scan.write_bytes((b"\0" * padding).join([members[0], bytes(bad), *members[2:]]))
    assert "incorrect data check" in problem(scan)


def test_a_bit_that_flips_in_another_channel_is_damage_too(tmp_path, write_scan, image):
    path = write_scan(tmp_path / "scan.nii.gz", np.stack([image(0), image(1)], axis=-1))
    np.testing.assert_array_equal(read_volume(path, 1).data, image(1))

    content = bytearray(path.read_bytes())
    content[-100] ^= 16
    path.write_bytes(content)
    assert "truncated or damaged" in problem(path, 0)


@pytest.mark.parametrize("dtype", [">i2", "<i2", "u1", "i1", "u2", "i4", "u4", "i8", "u8", ">f4", "f8"])
@pytest.mark.parametrize("scaling", [(None, None), (0.37, -12.5), (1.0, 3.0), (2.5, 0.0)])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_voxels_are_bit_for_bit_those_of_nibabel(tmp_path, dtype, scaling, ending):
    stored = np.random.default_rng(1).integers(0, 120, (5, 4, 3, 2)).astype(dtype)
    written = nib.Nifti1Image(stored, np.eye(4), dtype=np.dtype(dtype))
    written.header.set_slope_inter(*scaling)
    path = tmp_path / f"a{ending}"
    nib.save(written, path)
    read = nib.load(path)

    np.testing.assert_array_equal(
        read_volume(path, 1).data, np.asarray(read.dataobj[..., 1], dtype=np.float32)
    )
    first = tmp_path / f"first{ending}"
    nib.save(written.slicer[..., 0], first)
    np.testing.assert_array_equal(read_volume(first).data, nib.load(first).get_fdata(dtype=np.float32))


def test_a_header_and_its_voxels_may_be_two_files(tmp_path, image):
    nib.save(nib.Nifti1Pair(image(0), np.eye(4)), tmp_path / "a.img")

    np.testing.assert_array_equal(read_volume(tmp_path / "a.hdr").data, image(0))
    (tmp_path / "a.img").unlink()
    assert problem(tmp_path / "a.hdr")


def write_promising(path: Path, n: int, content: bytes) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((n, n, n))
    header.set_data_dtype(np.uint8)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    packed = header.binaryblock + b"\0\0\0\0" + content
    path.write_bytes(gzip.compress(packed) if path.suffix == ".gz" else packed)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_header_that_promises_more_than_the_file_can_hold_allocates_nothing(tmp_path, monkeypatch, name):
    write_promising(tmp_path / name, 2000, b"\0" * 1000)
    monkeypatch.setattr(volumes, "read_bytes", None)

    assert "2000x2000x2000 voxels of 1 byte, more than the file can hold" in problem(tmp_path / name)


def test_a_header_that_promises_more_than_memory_allocates_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_promising(path, 100, b"\1" * 1_000_000)
    assert read_volume(path).data.sum() == 1_000_000

    monkeypatch.setattr(volumes, "free_memory", lambda: 4_000_000)
    monkeypatch.setattr(volumes, "read_bytes", None)
    assert "preparing it takes 0.038 GB, and 0.004 GB are free" in problem(path)


def test_no_file_is_packed_denser_than_deflate_can(tmp_path):
    path = tmp_path / "zeros.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))

    assert 50_000_000 <= most_bytes(path) < 1.1 * 50_000_000
    assert not read_bytes(path, 49_000_000, 1_000_000).any()


def test_another_packing_is_named(tmp_path, scan):
    path = tmp_path / "a.nii.bz2"
    path.write_bytes(bz2.compress(gzip.decompress(scan.read_bytes())))

    assert "another program than gzip" in problem(path)


def test_a_few_megabytes_that_unpack_to_gigabytes_are_refused_before_they_take_the_machine(tmp_path):
    path, n = tmp_path / "bomb.nii.gz", 2000
    header = nib.Nifti1Header()
    header.set_data_shape((n, n, n))
    header.set_data_dtype(np.float32)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = packer.compress(header.binaryblock) + packer.compress(bytes(50_000_000)) + packer.flush()
    path.write_bytes(zeros + bytes(4 * n**3 // 1032))  # as many bytes as could hold all of them
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    words = problem(path)
    assert "2000x2000x2000 voxels of 4 bytes: preparing it takes 304 GB" in words
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000  # kB


def test_a_stream_that_ends_early_takes_memory_for_what_is_there_alone(tmp_path, monkeypatch):
    path = tmp_path / "short.nii.gz"
    write_promising(path, 1200, np.random.default_rng(0).bytes(2_000_000))
    monkeypatch.setattr(volumes, "free_memory", lambda: 10**15)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert "its gzip stream ends after 2000352 bytes" in problem(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000
