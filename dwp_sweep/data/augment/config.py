"""Settings of augmentation: which random changes a training image undergoes, and which of them cannot be.

Off unless a search space names a preset or a change. Axes have the patient's names and no axis is flipped by
default: sided anatomy must not mirror.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from dwp_sweep.errors import Problem
from dwp_sweep.strict import StrictModel, expert

AXES = ("LR", "AP", "SI")
"""Left to right, front (anterior) to back, top (superior) to bottom; either order of the letters is read."""
OFF = ("none", "off")

Range = tuple[float, float]

_PLAIN: Mapping[str, Any] = {
    "rotation_deg": dict.fromkeys(AXES, 15.0),
    "scale": (0.85, 1.18),
    "gamma": (0.7, 1.5),
    "gain": (0.75, 1.25),
    "blur": (0.5, 1.0),
    "low_resolution": (0.5, 1.0),
    "noise": (0.0, 0.1),
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "own": {},
    "plain": _PLAIN,
    "strong": {**_PLAIN, "rotation_deg": dict.fromkeys(AXES, 30.0), "scale": (0.7, 1.4), "elastic": 2.0},
}
"""What a preset gives to the fields that are not named."""

_FACTORS = ("scale", "gamma", "gain")
_MOST_BENT = 0.4
"""Control points that move less than this share of their distance fold nothing (Choi and Lee, 2000)."""


class AxisDegrees(StrictModel):
    """Largest turn about each axis of the patient, in degrees.

    Attributes:
        LR: About the axis from left to right: nodding.
        AP: About the axis from front to back: tilting to a shoulder.
        SI: About the axis from top to bottom: within axial slices.
    """

    LR: float = Field(0.0, ge=0, le=180)
    AP: float = Field(0.0, ge=0, le=180)
    SI: float = Field(0.0, ge=0, le=180)


class AugmentConfig(StrictModel):
    """Random changes of training images; every image of every step is drawn anew.

    ``plain`` alone stands for ``{preset: plain}``.

    Attributes:
        preset: Where fields that are not named come from: ``plain``, ``strong`` (larger, with elastic
            deformation), ``own`` (nothing but what is named) or ``none`` (off).
        strength: Stretches the ranges: 0.5 halves them, 2 doubles them, 0 is no augmentation at all.
        flip: Axes of the patient that are mirrored, each on its own; none by default.
        flip_probability: Of each of these axes.
        rotation_deg: Largest turn: about every axis, or by axis as in ``{SI: 15}``. Turns are in mm, so
            anisotropic voxels distort nothing.
        scale: Smallest and largest factor of size.
        elastic: Standard deviation of an elastic deformation's control points, in units of the smallest
            voxel size.
        elastic_distance: Distance of the control points, in the same unit.
        spatial_probability: Of turning, scaling and elastic deformation together.
        gamma: Smallest and largest exponent of intensities; mean and deviation of the patient are kept.
        gain: Smallest and largest factor of contrast, about the patient's mean.
        blur: Smallest and largest standard deviation of a Gaussian, in units of the smallest voxel size.
        low_resolution: Smallest and largest share of the finest axis' resolution that is left; axes with
            thicker voxels lose as much less.
        noise: Smallest and largest standard deviation of Gaussian noise, in units of the prepared image
            (the patient has a deviation of 1, or lies within -1 and 1 under a window).
        intensity_probability: Of each of these five changes of intensity, on its own.
    """

    preset: Literal["none", "plain", "strong", "own"] = "own"
    strength: float = Field(1.0, ge=0, le=3)
    flip: tuple[str, ...] = ()
    flip_probability: float = expert(0.5, ge=0, le=1)
    rotation_deg: AxisDegrees = AxisDegrees()
    scale: Range = (1.0, 1.0)
    elastic: float = Field(0.0, ge=0, le=100)
    elastic_distance: float = expert(12.0, ge=2, le=1000)
    spatial_probability: float = expert(0.8, ge=0, le=1)
    gamma: Range = (1.0, 1.0)
    gain: Range = (1.0, 1.0)
    blur: Range = (0.0, 0.0)
    low_resolution: Range = (1.0, 1.0)
    noise: Range = (0.0, 0.0)
    intensity_probability: float = expert(0.3, ge=0, le=1)

    @field_validator("flip", mode="before", json_schema_input_type=tuple[str, ...] | str)
    @classmethod
    def _named_axes(cls, value: Any) -> Any:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple):
            raise ValueError(f"must name axes of the patient, such as [LR]; axes are {', '.join(AXES)}")
        known = [_axis_name(name) for name in names]
        for name, axis in zip(names, known, strict=True):
            if axis not in AXES:
                raise ValueError(f"{name!r} is no axis of the data; axes are {', '.join(AXES)}")
            if known.count(axis) > 1:
                raise ValueError(f"names the axis {axis} more than once")
        return tuple(sorted(known, key=AXES.index))

    @field_validator("rotation_deg", mode="before", json_schema_input_type=AxisDegrees | float)
    @classmethod
    def _about_every_axis(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not 0 <= value <= 180:
                raise ValueError("must be within 0 and 180 degrees")
            return dict.fromkeys(AXES, float(value))
        if isinstance(value, Mapping):
            return {_axis_name(name): degrees for name, degrees in value.items()}
        return value

    @field_validator(*_FACTORS)
    @classmethod
    def _positive_factors(cls, value: Range) -> Range:
        if not 0.1 <= value[0] <= value[1] <= 10:
            raise ValueError("must be two rising factors within 0.1 and 10, such as [0.8, 1.25]")
        return value

    @field_validator("low_resolution")
    @classmethod
    def _share(cls, value: Range) -> Range:
        if not 0.1 <= value[0] <= value[1] <= 1:
            raise ValueError("must be two rising shares within 0.1 and 1, such as [0.5, 1]")
        return value

    @field_validator("blur", "noise")
    @classmethod
    def _deviations(cls, value: Range) -> Range:
        if not 0 <= value[0] <= value[1] <= 10:
            raise ValueError("must be two rising numbers within 0 and 10, such as [0, 0.1]")
        return value

    @model_validator(mode="after")
    def _folds_nothing(self) -> AugmentConfig:
        most = _MOST_BENT * self.elastic_distance
        # Control points are cut off at two standard deviations.
        if 2 * self.elastic * self.strength > most:
            raise ValueError(
                f"elastic {self.elastic:g} times strength {self.strength:g} folds the image over itself: "
                f"with elastic_distance {self.elastic_distance:g} at most {most / 2:g} does not"
            )
        return self

    @model_validator(mode="after")
    def _changes_something(self) -> AugmentConfig:
        if self.preset == "own" and not self.effects():
            raise ValueError("changes nothing: name a preset (preset: plain) or a change, or set it to none")
        return self

    def effects(self) -> frozenset[str]:
        """Names of the fields whose changes are not neutral, whatever the strength."""
        neutral = type(self).model_fields
        names = ("flip", "rotation_deg", *_FACTORS, "elastic", "blur", "low_resolution", "noise")
        return frozenset(name for name in names if getattr(self, name) != neutral[name].default)

    @property
    def is_off(self) -> bool:
        """Whether images stay as they are."""
        return self.preset == "none" or self.strength == 0


class SourceAugmentConfig(AugmentConfig):
    """Of source networks, whose contrast need not be that of the target.

    Attributes:
        remap: Probability that intensities follow a random curve: other contrasts, inverted ones among them.
            Mean and deviation of the patient are kept; a strength below 1 goes that far towards the curve.
    """

    remap: float = Field(0.0, ge=0, le=1)

    def effects(self) -> frozenset[str]:
        """As in `AugmentConfig`."""
        return super().effects() | ({"remap"} if self.remap else frozenset())


def short_form(value: Any) -> Any:
    """``plain`` for ``{preset: plain}``, ``none``, ``off`` and false for no augmentation.

    Args:
        value: As YAML has it; the fields that a mapping does not name take the preset's values.
    """
    if value is None or value is False or (isinstance(value, str) and value in OFF):
        return None
    if value is True:
        raise ValueError(f"name what is meant, such as plain; presets are {', '.join(PRESETS)}")
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, Mapping):
        return value
    preset = value.get("preset", "own")
    if preset is None or preset is False or preset == "off":
        preset = "none"
    given = {name: _with_tuples(item) for name, item in value.items()}
    known = PRESETS.get(preset, {}) if isinstance(preset, str) else {}
    return {**known, **given, "preset": preset}


def none_if_off(value: AugmentConfig | None) -> AugmentConfig | None:
    """One form of no augmentation, whatever else the settings say."""
    return None if value is None or value.is_off else value


_Short = Literal["none", "off", "plain", "strong", False]
Augment = Annotated[
    AugmentConfig | None,
    BeforeValidator(short_form, json_schema_input_type=AugmentConfig | _Short | None),
    AfterValidator(none_if_off),
]
SourceAugment = Annotated[
    SourceAugmentConfig | None,
    BeforeValidator(short_form, json_schema_input_type=SourceAugmentConfig | _Short | None),
    AfterValidator(none_if_off),
]


def array_axes(orientation: str) -> dict[str, int]:
    """The array's axis of each axis of the patient.

    Args:
        orientation: As in `PreprocessConfig`, such as RAS.

    >>> array_axes("SRA")
    {'LR': 1, 'AP': 2, 'SI': 0}
    """
    return {name: next(i for i, letter in enumerate(orientation) if letter in name) for name in AXES}


def impossible_changes(
    augment: AugmentConfig | None, volumes: Sequence[Sequence[int]], orientation: str, key: str
) -> tuple[Problem, ...]:
    """Flips and turns that volumes of one slice cannot have.

    Args:
        augment: To check.
        volumes: Shapes of the prepared volumes.
        orientation: Of their axes.
        key: Dotted key of the section, such as ``target.augment``.
    """
    if augment is None:
        return ()
    axes = array_axes(orientation)
    thin = [name for name in AXES if any(shape[axes[name]] == 1 for shape in volumes)]
    problems = []
    if flat := [name for name in augment.flip if name in thin]:
        what = f"{list(augment.flip)}: prepared volumes have a single slice along {', '.join(flat)}"
        problems.append(Problem(f"{key}.flip", what, f"leave {', '.join(flat)} out"))
    turned = [name for name in AXES if getattr(augment.rotation_deg, name)]
    if bad := [name for name in turned if any(other != name for other in thin)]:
        what = (
            f"a turn about {', '.join(bad)} leaves the plane of volumes with a single slice along "
            f"{', '.join(thin)}"
        )
        rest = {name: getattr(augment.rotation_deg, name) for name in turned if name not in bad}
        fix = ", ".join(f"{name}: {degrees:g}" for name, degrees in rest.items()) or f"{bad[0]}: 0"
        problems.append(Problem(f"{key}.rotation_deg", what, f"set it to {{{fix}}}"))
    return tuple(problems)


def _axis_name(name: Any) -> Any:
    """The usual order of an axis' two letters."""
    if not isinstance(name, str):
        return name
    return next((axis for axis in AXES if sorted(name.upper()) == sorted(axis)), name)


def _with_tuples(value: Any) -> Any:
    # Values that were read as JSON and handed back are validated as Python's, where no list is a tuple.
    return tuple(value) if isinstance(value, list) else value
