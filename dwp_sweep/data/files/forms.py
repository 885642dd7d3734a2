"""How a NIfTI header says where its voxels lie: two forms with their codes, and a unit of length.

The sform is any affine, the qform a rotation with voxel sizes. A form with code 0 is not given. Readers
differ in which form they prefer where both are given; nibabel takes the sform. Where none is given, nibabel
puts the volume's middle at the origin and runs the first axis to the patient's left. Here everything is in
mm, whatever the header's unit is, and a header made for a result says the same as the scan's in all respects.
"""

# nibabel carries no type hints on these calls.
# mypy: allow-untyped-calls

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

Affine = NDArray[np.float64]

MM_OF_UNIT = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
"""A header without a unit is taken to mean mm, as everybody takes it."""

CORNER_TOLERANCE = 0.1
"""Of a voxel, by which corners may lie apart and still be one place: headers round, shifts are larger."""

NO_FORM, TWO_FORMS, SIDES, UNIT = "no orientation", "two places", "left or right?", "unit"
"""What a header leaves in doubt, in a few words."""

_FIELDS = (
    "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "sform_code", "srow_x", "srow_y", "srow_z",
)  # fmt: skip
_NIFTI2_BYTES = 540
_UNITS = {1: "meter", 2: "mm", 3: "micron"}
_SPATIAL_UNITS = 7
"""The bits of `xyzt_units` that hold the unit of length; the others hold that of time."""


@dataclass(frozen=True, eq=False)
class Forms:
    """What a header says of its voxels' places.

    Attributes:
        affine: (4, 4), voxel index to mm: of the sform, else the qform, else the middle at the origin.
        sform: (4, 4), in mm; None where its code is 0 or it holds a number that is not finite.
        qform: Likewise; also None where its quaternion is none.
        unit: ``mm``, ``meter``, ``micron`` or ``unknown``, as stored.
        stored: The header's own fields, for `put_into`.
        is_nifti2: Of which version the header is.
    """

    affine: Affine
    sform: Affine | None
    qform: Affine | None
    unit: str
    stored: Mapping[str, Any]
    is_nifti2: bool

    def put_into(self, header: Any) -> None:
        """Make another header say the same, bit by bit; its shape and data type stay.

        Args:
            header: Of nibabel, of the same version.
        """
        for name in _FIELDS:
            header[name] = self.stored[name]
        header["pixdim"][:4] = self.stored["pixdim"]
        header["xyzt_units"] = self.stored["xyzt_units"]


def read_forms(header: Any) -> Forms:
    """The forms of a header of nibabel."""
    units = int(header["xyzt_units"]) & _SPATIAL_UNITS
    unit = _UNITS.get(units, "unknown")
    to_mm = np.diag([*[MM_OF_UNIT[unit]] * 3, 1.0])
    stored: dict[str, Any] = {name: np.array(header[name]) for name in _FIELDS}
    stored |= {"pixdim": np.array(header["pixdim"][:4]), "xyzt_units": units}
    with np.errstate(invalid="ignore", over="ignore"):  # whoever reads the affine looks whether it is finite
        affine = to_mm @ np.asarray(header.get_best_affine(), dtype=np.float64)
        sform = to_mm @ header.get_sform() if int(header["sform_code"]) != 0 else None
        qform = _qform(header, to_mm)
    return Forms(
        affine,
        sform if sform is not None and np.isfinite(sform).all() else None,
        qform if qform is not None and np.isfinite(qform).all() else None,
        unit,
        stored,
        int(header["sizeof_hdr"]) == _NIFTI2_BYTES,
    )


def orientation(affine: Affine) -> str:
    """Where the axes point, nearest to the patient's: letters such as RAS; ``?`` of an axis of no length."""
    return "".join(letter or "?" for letter in aff2axcodes(affine))


def corner_distance_mm(shape: Sequence[int], first: Affine, second: Affine) -> float:
    """How far apart two affines place the farthest corner of a volume.

    Args:
        shape: Voxels of the volume.
        first: (4, 4), voxel index to mm.
        second: Likewise.
    """
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))], dtype=float)
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())


def disagree_about_sides(first: Affine, second: Affine) -> bool:
    """Whether what is left in one affine is right in the other, or they are mirrored along any axis."""
    axes = zip(orientation(first), orientation(second), strict=True)
    return any({a, b} == {"L", "R"} for a, b in axes) or bool(
        np.linalg.det(first[:3, :3]) * np.linalg.det(second[:3, :3]) < 0
    )


class Doubt(NamedTuple):
    """One thing that a header leaves open: a few words for a table, a sentence, and what to do."""

    words: str
    what: str
    fix: str


def doubts_of(forms: Forms, shape: Sequence[int]) -> tuple[Doubt, ...]:
    """What a header leaves open: where the scan lies, what is left and right, how large it is.

    Args:
        forms: Of the header.
        shape: Voxels of the volume.
    """
    sizes = voxel_sizes(forms.affine)
    doubts = []
    if MM_OF_UNIT[forms.unit] != 1.0:
        voxels = " x ".join(f"{size:.3g}" for size in sizes)
        what = f"its unit of length is the {forms.unit}: voxels of {voxels} mm"
        doubts.append(Doubt(UNIT, what, "is it meant so? Otherwise correct xyzt_units"))
    if forms.sform is None and forms.qform is None:
        what = "has neither sform nor qform (both codes are 0): where left and right are is a guess"
        fix = "convert it again from the scanner's files, or check by eye that all scans lie alike"
        doubts.append(Doubt(NO_FORM, f"{what}, {orientation(forms.affine)}", fix))
    if forms.sform is None or forms.qform is None:
        return tuple(doubts)
    apart_mm = corner_distance_mm(shape, forms.sform, forms.qform)
    fix = "find out which is right and copy it over the other; the sform is used here"
    if apart_mm > CORNER_TOLERANCE * min(sizes) and disagree_about_sides(forms.sform, forms.qform):
        letters = f"{orientation(forms.sform)} and {orientation(forms.qform)}"
        what = f"its sform and qform contradict each other in left and right: {letters}"
        doubts.append(Doubt(SIDES, what, fix))
    elif apart_mm > CORNER_TOLERANCE * min(sizes):
        what = f"its sform and qform differ: corners lie up to {apart_mm:.3g} mm apart"
        doubts.append(Doubt(TWO_FORMS, what, fix))
    return tuple(doubts)


def _qform(header: Any, to_mm: Affine) -> Affine | None:
    try:
        qform = header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError):  # a quaternion longer than 1: no harm where there is an sform
        return None
    return None if qform is None else np.asarray(to_mm @ qform, dtype=np.float64)
