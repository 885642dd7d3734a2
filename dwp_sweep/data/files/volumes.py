"""NIfTI files in and out: with `dwp_sweep.data.files.forms` the only place that imports nibabel.

Lowest step of the data side; whatever is wrong with a file becomes an `InputError` that names it.
"""

# nibabel carries no type hints on these calls.
# mypy: allow-untyped-calls

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from dwp_sweep.atomic_write import replacing
from dwp_sweep.data.files.content import is_gzip, most_bytes, read_bytes
from dwp_sweep.data.files.forms import Affine, Forms, read_forms
from dwp_sweep.data.files.free_memory import free_memory
from dwp_sweep.data.files.names import is_file, other_format, stem
from dwp_sweep.errors import InputError, Problem

FloatArray = NDArray[np.float32]

BYTES_A_VOXEL = 38
"""Memory that reading and preparing one scan with its mask takes at its peak, measured."""

# A damaged header may claim any shape, more voxels than memory holds among them.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    MemoryError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.spatialimages.ImageDataError,
)
_HEADER_BYTES, _MAGIC = 348, {b"n+1", b"ni1", b"n+2", b"ni2"}
_OTHER_PACKING = (".bz2", ".zst")
_FLAT = 1e-6
"""Volume of a voxel over the product of its edges; with less, the affine maps to no 3D space."""
_AXES = {1: "1D", 2: "2D", 3: "3D", 4: "4D"}


@dataclass(frozen=True)
class Header:
    """What a file says before its voxels are read.

    Attributes:
        shape: The three spatial axes, in voxels.
        affine: (4, 4), voxel index to mm in RAS+ space.
        spacing_mm: Voxel size along each axis.
        n_channels: Volumes on the fourth axis; 1 for a 3D image.
        forms: All that the file says of its voxels' places; the affine is one of them.
    """

    shape: tuple[int, int, int]
    affine: Affine
    spacing_mm: tuple[float, float, float]
    n_channels: int
    forms: Forms


@dataclass(frozen=True)
class Volume:
    """One scan as stored: axes in the file's own order.

    Attributes:
        data: (D, H, W), float32, finite.
        affine: (4, 4), voxel index to mm in RAS+ space.
        spacing_mm: Voxel size along each axis.
        forms: All that the file says of its voxels' places; None of a volume that comes from no file.
    """

    data: FloatArray
    affine: Affine
    spacing_mm: tuple[float, float, float]
    forms: Forms | None = None


def read_header(path: Path) -> Header:
    """Shape and geometry of a NIfTI file.

    Raises:
        InputError: Missing, unreadable or no NIfTI; neither 3D nor 4D; an affine that maps to no space.
    """
    return _header(path, _open(path))


def read_volume(path: Path, channel: int | None = None) -> Volume:
    """Read one 3D volume, scaled by the header's slope and intercept.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        channel: Which volume of a 4D image, from 0.

    Raises:
        InputError: As `read_header`; a truncated file; 4D without `channel`; a channel that is not
            there; NaN or infinite voxels.
    """
    image = _open(path)
    header = _header(path, image)
    data = _voxels(path, image, _chosen(path, header, channel), np.dtype(np.float32))
    return Volume(data, header.affine, header.spacing_mm, header.forms)


def read_mask(path: Path) -> NDArray[np.floating[Any]]:
    """Label values (D, H, W) as stored, exactly: float64 where float32 rounds large ones.

    Raises:
        InputError: As `read_header`; a truncated or damaged file; 4D; NaN or infinite voxels.
    """
    image = _open(path)
    header = _header(path, image)
    if header.n_channels > 1:
        what = f"4D mask of shape {times((*header.shape, header.n_channels))} where 3D is expected"
        raise _error(path, what, "save one label value a voxel; of one channel a label, take the largest")
    return _voxels(path, image, 0, np.result_type(image.get_data_dtype(), np.float32))


def content_hash(volume: Volume) -> str:
    """SHA-256 of a scan's voxels, turned to the patient's right, front and top; 64 hex digits.

    The same for a scan under another name, compressed or turned otherwise, or with another data type that
    holds its values. Another resolution, crop or scale of the values is another content.
    """
    turned = nib.orientations.apply_orientation(volume.data, nib.io_orientation(volume.affine))
    digest = hashlib.sha256(times(turned.shape).encode())
    digest.update(np.ascontiguousarray(turned).data)
    return digest.hexdigest()


def write_volume(path: Path, data: NDArray[Any], place: Affine | Forms) -> None:
    """Write (D, H, W) voxels as NIfTI, atomically; equal input gives equal bytes.

    Args:
        path: The file; its folder is made.
        data: Voxels.
        place: An affine, voxel index to mm; or the forms of a scan, which the file then says bit by bit.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(place, Forms):
        kind = nib.Nifti2Image if place.is_nifti2 else nib.Nifti1Image
        image = kind(data, None, dtype=data.dtype)
        place.put_into(image.header)
    else:
        image = nib.Nifti1Image(data, place)
        image.header.set_xyzt_units("mm")
    with replacing(path, durable=False) as beside:
        nib.save(image, beside)


def times(shape: tuple[int, ...]) -> str:
    """A shape for people, such as ``240x240x155``."""
    return "x".join(str(n) for n in shape)


def _open(path: Path) -> Any:
    if not is_file(path):
        raise _error(path, "there is no such file", "check the path")
    if (format := other_format(path)) is not None:
        fix = "convert it to .nii.gz, as SimpleITK's WriteImage(ReadImage(path), 'scan.nii.gz') does"
        raise _error(path, f"is a file of {format}, a format that is not read", fix)
    try:
        _require_fitting_name(path)
        with np.errstate(invalid="ignore", over="ignore"):  # an affine that is not finite is refused below
            image = nib.load(path)
    except nib.filebasedimages.ImageFileError:
        what = f"cannot be read as NIfTI: no such header in its {path.stat().st_size} bytes"
        raise _error(path, what, "export or copy the file again") from None
    except _UNREADABLE as error:
        raise _error(path, f"cannot be read as NIfTI: {_first_line(error)}", "copy the file again") from None
    if not isinstance(image, nib.Nifti1Pair):
        raise _error(path, f"is no NIfTI file but {type(image).__name__}", "convert it to .nii.gz")
    if Path(str(image.file_map["image"].filename)).suffix.lower() in _OTHER_PACKING:
        raise _error(path, "is packed by another program than gzip", "unpack it, or pack it as .nii.gz")
    if image.get_data_dtype().kind not in "iufb":
        raise _error(
            path,
            f"voxels of type {image.get_data_dtype()} are no plain numbers",
            "export one grey value a voxel",
        )
    return image


def _require_fitting_name(path: Path) -> None:
    """Names say whether a file is packed: nibabel believes them, and then sees no header."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if path.suffix.lower() == ".nii" and is_gzip(path):
        raise _error(path, "is a gzip file, which its name does not say", f"rename it to {path.name}.gz")
    if path.suffix.lower() == ".gz" and {start[344:347], start[4:7]} & _MAGIC:
        fix = f"rename it to {path.name[:-3]}"
        raise _error(path, "is no gzip file, as its name says, but a plain NIfTI file", fix)
    ending = path.name[len(stem(path)) :]
    if ending not in (ending.lower(), ending.upper()):  # nibabel would look for another file
        raise _error(
            path, f"{ending} mixes small and large letters", f"rename it to {stem(path)}{ending.lower()}"
        )


def _header(path: Path, image: Any) -> Header:
    shape = tuple(int(n) for n in image.shape)
    if len(shape) not in (3, 4) or min(shape) <= 0:
        kind = _AXES.get(len(shape), f"{len(shape)}D")
        raise _error(
            path, f"{kind} image of shape {times(shape)} where 3D is expected", "give one volume a file"
        )
    forms = read_forms(image.header)
    if not _spans_space(forms.affine):
        raise _error(path, "its affine does not map voxels to a 3D space", "write a valid sform or qform")
    spacing = voxel_sizes(forms.affine)
    spacing_mm = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    return Header(
        (shape[0], shape[1], shape[2]), forms.affine, spacing_mm, shape[3] if len(shape) == 4 else 1, forms
    )


def _spans_space(affine: Affine) -> bool:
    if not np.isfinite(affine).all():
        return False
    spacing = voxel_sizes(affine)
    # Relative to the voxels' size, which may be a thousandth of a mm.
    return bool(spacing.all() and abs(np.linalg.det(affine[:3, :3])) / np.prod(spacing) >= _FLAT)


def _chosen(path: Path, header: Header, channel: int | None) -> int:
    if channel is None and header.n_channels > 1:
        shape = times((*header.shape, header.n_channels))
        fix = f"choose a volume with channel: 0 to {header.n_channels - 1}, or give one volume a file"
        raise _error(path, f"4D image of shape {shape} where 3D is expected", fix)
    if channel is not None and channel >= header.n_channels:
        raise _error(
            path, f"channel {channel} is not there", f"channels run from 0 to {header.n_channels - 1}"
        )
    return channel or 0


def _voxels(path: Path, image: Any, channel: int, as_type: np.dtype[Any]) -> NDArray[Any]:
    """Read by our own reader: nibabel's never sees the checksum of a gzip file."""
    stored, shape, dtype = image.dataobj, image.shape[:3], image.get_data_dtype()
    source = Path(image.file_map["image"].filename)  # the .img beside a .hdr, else the file itself
    n_bytes = math.prod(shape) * dtype.itemsize
    try:
        _require_plausible(path, source, image)
        content = read_bytes(source, stored.offset + channel * n_bytes, n_bytes)
        voxels = content.view(dtype).reshape(shape, order="F")
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = apply_read_scaling(voxels, np.float64(stored.slope), np.float64(stored.inter))
            data = np.ascontiguousarray(scaled, dtype=as_type)
    except _UNREADABLE as error:
        raise _error(
            path, f"truncated or damaged: {_first_line(error)}", "export or copy the file again"
        ) from None
    n_bad = int(data.size - np.count_nonzero(np.isfinite(data)))
    if n_bad:
        raise _error(
            path, f"{n_bad} of {data.size} voxels are NaN or infinite", "replace them by finite values"
        )
    return data


def _require_plausible(path: Path, source: Path, image: Any) -> None:
    """Refuse a header that promises more than its file or memory can hold, before anything is allocated."""
    itemsize = image.get_data_dtype().itemsize
    size = f"{times(image.shape)} voxels of {itemsize} byte{'s' * (itemsize > 1)}"
    if image.dataobj.offset + math.prod(image.shape) * itemsize > most_bytes(source):
        what = f"truncated or damaged: its header promises {size}, more than the file can hold"
        raise _error(path, what, "export or copy the file again")
    needed, free = math.prod(image.shape[:3]) * BYTES_A_VOXEL, free_memory()
    if needed > free:
        what = f"its header promises {size}: preparing it takes {_gb(needed)}, and {_gb(free)} are free"
        raise _error(path, what, "crop or resample it beforehand, or take a machine with more memory")


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB"


def _error(path: Path, what: str, fix: str) -> InputError:
    return InputError(Problem(str(path), what, fix))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
