"""Settings of a data set: where its scans lie, which are used, how they are prepared and split.

First file of the pipeline's data side; every other module of `dwp_sweep.data` reads these models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from dwp_sweep.data.classes import HIGHEST_LABEL, Classes, ClassPairs, foreground_pairs
from dwp_sweep.strict import StrictModel, expert, unkeyed

Layout = Literal["auto", "msd", "nnunet", "bids", "brats", "brats18", "ms", "pairs", "phantom"]

BRATS_LAYOUTS = frozenset({"brats", "brats18"})
"""Two names of one layout; ``brats18`` stays for search spaces that say so."""

PATTERN_LAYOUTS = frozenset({"ms", "bids"})
"""Those that find a subject's files by patterns."""

_RANGE = re.compile(r"^\s*(-?\d+)?\s*:\s*(-?\d+)?\s*$")
ValueT = TypeVar("ValueT")

_AXES = ("LR", "PA", "IS")

MAX_VOXELS = 2**30
"""Of one volume: 4 GB as floats."""


def few_enough(shape: Sequence[int]) -> None:
    """Refuse a shape that no volume has.

    Raises:
        ValueError: More than `MAX_VOXELS` voxels.
    """
    if math.prod(shape) > MAX_VOXELS:
        raise ValueError(f"has {math.prod(shape):,} voxels, and a volume has at most {MAX_VOXELS:,}")


class PreprocessConfig(StrictModel):
    """How a scan becomes an input: turned, resampled, cropped to the patient, scaled, brought to shape.

    Attributes:
        orientation: Where the three axes point, by their first letters: RAS runs to the patient's right,
            front (anterior) and top (superior). `spacing_mm` and `shape` follow this order: axial slices of
            448 x 512 x 22 voxels are [352, 400, 24] in RAS and [24, 352, 400], slices first, in SRA.
        spacing_mm: Voxel size to resample to (image linear, mask nearest); None keeps the scan's own.
        crop_foreground: Crop to the box around everything that differs from the constant background.
        shape: Crop or pad to this many voxels, centred; None takes volumes as they come.
        percentiles: Intensities inside the foreground are clipped to these percentiles before they
            get mean 0 and standard deviation 1; the background becomes 0.
        window: For CT, in place of percentiles: clip to these two values (Hounsfield units) before anything
            else, then map them to -1 and 1, the same for every scan; what pads becomes -1.
    """

    orientation: str = "RAS"
    spacing_mm: tuple[float, float, float] | None = None
    crop_foreground: bool = True
    shape: tuple[int, int, int] | None = None
    percentiles: tuple[float, float] = expert((0.5, 99.5))
    window: tuple[float, float] | None = None

    @field_validator("orientation")
    @classmethod
    def _three_axes(cls, value: str) -> str:
        n_letters = [sum(letter in axis for letter in value.upper()) for axis in _AXES]
        if len(value) != 3 or n_letters != [1, 1, 1]:
            raise ValueError("must be one letter each of L or R, P or A, I or S, such as RAS or SRA")
        return value.upper()

    @field_validator("window")
    @classmethod
    def _rising(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError("must be two rising numbers, such as [-200, 250]")
        if value is not None and (max(map(abs, value)) > 1e9 or value[1] - value[0] < 1e-6):
            raise ValueError("must lie within -1e9 and 1e9, and at least 1e-6 apart")
        return value

    @field_validator("spacing_mm", "shape")
    @classmethod
    def _positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("all three numbers must be above 0")
        return value

    @field_validator("shape")
    @classmethod
    def _fits_into_memory(cls, value: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        few_enough(value or ())
        return value

    @field_validator("spacing_mm")
    @classmethod
    def _no_finer_than_a_microscope(
        cls, value: tuple[float, float, float] | None
    ) -> tuple[float, float, float] | None:
        if value is not None and not (min(value) >= 1e-3 and max(value) <= 1e3):
            raise ValueError("all three numbers must lie within 0.001 and 1000 mm")
        return value

    @field_validator("percentiles")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError("must be two rising numbers within 0 and 100")
        return value


class PhantomConfig(StrictModel):
    """A generated data set; the same values give the same voxels.

    Attributes:
        kind: ``source``: many small bright lesions, FLAIR-like, thick slices. ``target``: one large
            lesion with oedema, T2-like, isotropic. The fields below change one of these at a time.
        n_subjects: Number of subjects; a larger number keeps the first ones as they are.
        shape: Voxels of each volume. The head always fits: the voxel size follows from the shape.
        seed: Any non-negative integer.
        disease: ``lesions`` (many small) or ``tumour`` (one large with oedema); None: that of the kind.
        contrast: 0 is T2-like as the target's, 0.5 FLAIR-like as the source's, 1 the inverse of 0; mixed in
            between. None: that of the kind.
        slice_ratio: Distance of slices over voxel size within them; None: that of the kind (1.5 for the
            source, 1 for the target).
        lesion_scale: Factor on the size of lesions; none is smaller than a voxel.
        noise: Factor on the noise.
    """

    kind: Literal["source", "target"] = "source"
    n_subjects: int = Field(40, ge=1, le=100_000)
    shape: tuple[int, int, int] = (32, 32, 32)
    seed: int = Field(0, ge=0)
    disease: Literal["lesions", "tumour"] | None = None
    contrast: float | None = Field(None, ge=0, le=1)
    slice_ratio: float | None = Field(None, ge=1, le=10)
    lesion_scale: float = Field(1.0, ge=0.2, le=3)
    noise: float = Field(1.0, ge=0, le=20)

    def unread(self) -> frozenset[str]:
        """What is as the kind has it: phantoms from before there was a choice keep their keys."""
        return frozenset(
            name
            for name in ("disease", "contrast", "slice_ratio", "lesion_scale", "noise")
            if getattr(self, name) == type(self).model_fields[name].default
        )

    @property
    def shows(self) -> Literal["lesions", "tumour"]:
        """The disease that is drawn."""
        return self.disease or ("lesions" if self.kind == "source" else "tumour")

    @field_validator("shape")
    @classmethod
    def _large_enough(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(value[:2]) < 16 or value[2] < 8:
            raise ValueError("must be at least 16 x 16 x 8 voxels, or no lesion is left to see")
        few_enough(value)
        return value


class DatasetConfig(StrictModel):
    r"""One data set: the source task's or the target task's.

    Attributes:
        layout: How the folder is organised; ``auto`` tells it by the files' names.
        root: The folder (for ``pairs`` the CSV file).
        subjects: Which are used. None: all; a list of ids; or a range such as ``"0:90"`` over the sorted
            ids, where the scans of a patient go with the first of them.
        labels: Values of the mask that are foreground, the others being background; None takes everything
            above 0, unless ``dataset.json`` has a label ``ignore``: then they must be named.
        classes: Classes to tell apart, each a name with its labels: ``{oedema: [2], core: [1, 4]}``. At
            least two, and no label in two of them. Scores are taken of each class and of their mean. All
            labels that the masks hold must be named; those under ``background`` count as background. None:
            `labels` are one foreground.
        label_set: All values that a mask may hold. Unless given, ``msd`` takes them from
            ``dataset.json`` and ``brats`` allows 0 to 4; elsewhere None checks nothing.
        channel: Which volume of a 4D image, from 0, or which channel's file of ``nnunet``; several become
            the network's input channels.
        modality: Which image of a patient's folder (``brats``): t2, flair, t1, t1ce, or their names
            since 2023; several become the network's input channels.
        image_pattern: Which of a patient's files is the image (``ms``, ``bids``): a word or a glob; several
            become the network's input channels.
        mask_pattern: Which file is the mask (``ms``, ``bids``).
        phantom: What to generate for the layout ``phantom``.
        preprocess: How scans become inputs.
        patients: Which scans are of one patient, so that they never stand on two sides of a split. ``auto``
            takes the column ``patient`` of ``pairs``, and the names of BraTS (``BraTS-GLI-00000-001``) and
            BIDS (``sub-01_ses-02``); ``scan`` makes every scan a patient of its own; else a regular
            expression that fits whole ids, with the patient's name as its one group: ``(P\d+)_visit\d+``.
        splits: How splits are drawn. ``resampled``: each draws its own test scans, from all but a part that
            is kept for validation. ``independent``: one test set, and training and validation scans that no
            two splits share.
        n_splits: Into how many parts ``splits: independent`` divides the scans outside the test set.
        n_val: Scans held out for validation.
        n_test: Scans held out for the test; a source task has none. Counts are scans; where a patient has
            several, a patient who would exceed a count gives as many as fit.
        validation: ``held_out``: `n_val` scans of their own; ``train``: a part of the m training
            scans, for who has only these; ``folds``: each of `n_folds` parts of the m scans validates one
            network, which trains on the others, and the mean of all networks is tested: no scan is given up.
        n_folds: With ``validation: folds``: how many networks.
        validation_share: That part, with ``validation: train``; at least one scan.
        split_file: The user's own splits (CSV subject, split, role) in place of drawn ones.
        fingerprint: Hash of the files' content, filled in before a node gets its key.
    """

    layout: Layout = "auto"
    root: str | None = unkeyed(None)
    subjects: str | tuple[str, ...] | None = None
    labels: tuple[int, ...] | None = None
    classes: Classes | None = None
    label_set: tuple[int, ...] | None = None
    channel: int | tuple[int, ...] | None = None
    modality: str | tuple[str, ...] = "t2"
    image_pattern: str | tuple[str, ...] = "FLAIR"
    mask_pattern: str = Field("mask", min_length=1)
    phantom: PhantomConfig | None = None
    preprocess: PreprocessConfig = PreprocessConfig()
    patients: str = "auto"
    splits: Literal["resampled", "independent"] = "resampled"
    n_splits: int = Field(3, ge=1)
    n_val: int = Field(10, ge=0)
    n_test: int = Field(50, ge=0)
    validation: Literal["held_out", "train", "folds"] = "held_out"
    n_folds: int = Field(5, ge=2, le=100)
    validation_share: float = Field(0.2, gt=0, lt=1)
    split_file: str | None = unkeyed(None)
    fingerprint: str = expert("")

    @field_validator("subjects", mode="before")
    @classmethod
    def _range_or_ids(cls, value: Any) -> Any:
        if value is None or (isinstance(value, str) and _RANGE.match(value)):
            return value
        if isinstance(value, list | tuple) and value and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ValueError('must be a range such as "0:90" over the sorted ids, or a list of subject ids')

    @field_validator("patients")
    @classmethod
    def _one_group(cls, value: str) -> str:
        try:
            n_groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if value not in ("auto", "scan") and n_groups != 1:
            raise ValueError("must be auto, scan, or a regular expression with one group: the patient's name")
        return value

    @field_validator("labels")
    @classmethod
    def _foreground(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or 0 in value):
            raise ValueError("must name at least one label, and 0 is the background")
        if value is not None and not 0 < min(value) <= max(value) <= HIGHEST_LABEL:
            raise ValueError(f"labels are whole numbers from 1 to {HIGHEST_LABEL}")
        return value

    @field_validator("channel", mode="before")
    @classmethod
    def _channels(cls, value: Any) -> Any:
        if value is None or all(type(item) is int and item >= 0 for item in _listed(value)):
            return _one_or_several(value)
        raise ValueError("must be a channel from 0, or a list of different ones")

    @field_validator("modality", "image_pattern", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if all(isinstance(item, str) and item for item in _listed(value)):
            return _one_or_several(value)
        raise ValueError("must be a word, or a list of different ones")

    @model_validator(mode="after")
    def _several_where_they_are_read(self) -> DatasetConfig:
        of_layout = {
            "modality": self.layout in BRATS_LAYOUTS | {"auto"},
            "image_pattern": self.layout in PATTERN_LAYOUTS | {"auto"},
        }
        for name, is_read in of_layout.items():
            if not is_read and isinstance(getattr(self, name), tuple):
                raise ValueError(f"layout {self.layout!r} does not read several values of {name}")
        if self.image_channels and isinstance(self.channel, tuple):
            raise ValueError("several files and several channels of each are too many: list one of them")
        return self

    @property
    def image_channels(self) -> tuple[str, ...]:
        """Modalities or patterns of a subject's files where there are several of them; else empty."""
        is_auto = self.layout == "auto" and isinstance(self.modality, tuple)
        value = self.modality if self.layout in BRATS_LAYOUTS or is_auto else self.image_pattern
        return value if isinstance(value, tuple) else ()

    @property
    def n_channels(self) -> int:
        """Input channels that a scan of this data set has."""
        return len(self.image_channels) or (len(self.channel) if isinstance(self.channel, tuple) else 1)

    @property
    def volumes(self) -> tuple[int | None, ...]:
        """Which volumes of each file are read; None is the only one. Channels of ``nnunet`` are files."""
        return (None,) if self.layout == "nnunet" else several(self.channel)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What the input channels are, for people."""
        if self.image_channels:
            return self.image_channels
        return (
            tuple(f"channel {number}" for number in self.channel) if isinstance(self.channel, tuple) else ()
        )

    @model_validator(mode="after")
    def _one_source_of_splits(self) -> DatasetConfig:
        if self.split_file and self.splits != "resampled":
            raise ValueError(f"splits: {self.splits} and split_file are two ways to make splits: keep one")
        return self

    def unread(self) -> frozenset[str]:
        """What has no effect: `n_splits`, `n_folds` and `classes` where there are none of them."""
        idle = {
            "n_splits": self.splits != "independent",
            "n_folds": self.validation != "folds",
            "classes": not self.classes,
        }
        return frozenset(name for name, is_idle in idle.items() if is_idle)

    @model_validator(mode="after")
    def _one_foreground(self) -> DatasetConfig:
        if self.labels is not None and self.classes is not None:
            raise ValueError("labels and classes both say what is foreground: keep one of them")
        return self

    @property
    def own_classes(self) -> ClassPairs:
        """The classes without the background, in order of their numbers; empty with one foreground."""
        return foreground_pairs(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes 1, 2, ...; empty with one foreground."""
        return tuple(name for name, _ in self.own_classes)

    @property
    def foreground(self) -> tuple[int, ...] | None:
        """Labels that are foreground, of any class; None takes everything above 0."""
        if self.classes is None:
            return self.labels
        return tuple(sorted(label for _, labels in self.own_classes for label in labels))

    @property
    def n_outputs(self) -> int:
        """Output channels of a network for this data set, background first."""
        return 1 + (len(self.class_names) or 1)

    @model_validator(mode="after")
    def _phantom_where_it_belongs(self) -> DatasetConfig:
        if self.layout != "auto" and (self.layout == "phantom") != (self.phantom is not None):
            raise ValueError("layout 'phantom' and the section 'phantom' go together: give both or neither")
        return self


def several(value: ValueT | tuple[ValueT, ...]) -> tuple[ValueT, ...]:
    """A setting that is one value or a list of them, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _one_or_several(value: Any) -> Any:
    """A list of one is that one: the same data set, the same key."""
    values = _listed(value)
    if not values or len(set(values)) < len(values):
        raise ValueError("must be one value, or a list of different ones")
    return values[0] if len(values) == 1 else values


def subject_range(text: str) -> slice:
    """The slice that a range such as ``"0:90"``, ``":-10"`` or ``"90:"`` stands for."""
    match = _RANGE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no range such as 0:90")
    return slice(*(None if part is None else int(part) for part in match.groups()))
