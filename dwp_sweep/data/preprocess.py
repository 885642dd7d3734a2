"""From a scan to a network's input: turned, resampled, cropped to the patient, scaled, brought to shape.

The patient is what differs from a constant background. Zero is no safe marker of that: skull-stripped scans
carry small negative values at the rim of the brain from interpolation, CT is padded with -1024, and a crop
from inside the head has no background at all. Stands between `dwp_sweep.data.pair` and the cache.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.files.volumes import Volume
from dwp_sweep.data.pair import Pair, class_numbers, foreground_of
from dwp_sweep.data.placement import Placement, centred_start, no_voxels

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor


MIN_BORDER_SHARE = 0.1
"""A value is background when it fills at least this share of the volume's six faces."""

_TOLERANCE = 1e-3
_TINY_MM = 0.1


@dataclass(frozen=True)
class Prepared:
    """A scan ready for a network; axes as `PreprocessConfig.orientation` says, by default RAS.

    Attributes:
        image: (C, D, H, W) float32; the foreground of each channel with mean 0 and standard deviation 1,
            background 0; with a window -1 to 1.
        mask: (D, H, W) uint8, 1 is foreground; with classes their numbers.
        spacing_mm: Voxel size along D, H, W.
        resampled_away: Share of the foreground's volume that resampling the mask removed.
        cropped_away: Share of the resampled foreground that the crops removed.
        outside: Share of the resampled foreground that lies where no channel shows the patient,
            hollows inside the patient not counted.
        lost: (N, 3) int32, foreground voxels that the crops removed, as indices of the mask; they lie beyond
            it, or where it was padded. With classes (N, 4): the number of the class comes last.
        gone: Names of classes that the scan's mask has and `mask` has not.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    resampled_away: float
    cropped_away: float
    outside: float = 0.0
    lost: NDArray[np.int32] = field(default_factory=no_voxels)
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """The images of a scan ready for a network, whether or not there is a mask.

    Attributes:
        image: As in `Prepared`.
        spacing_mm: Voxel size along D, H, W.
        shown: Where any channel shows the patient, on the whole grid before the crops.
        placement: Where the image lies in the scan; the way back for predictions.
    """

    image: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    shown: NDArray[np.bool_]
    placement: Placement

    @property
    def unseen(self) -> float:
        """Share of what shows the patient that the crops leave out of the image."""
        inside = self.placement.to_input(self.shown, False)
        return 1.0 - float(inside.sum()) / float(self.shown.sum())


def preprocess(pair: Pair, config: DatasetConfig) -> Prepared:
    """Turn, resample, crop and scale one scan as `config.preprocess` says.

    `config.labels` is foreground, or `config.classes` are.
    """
    scan = prepare_scan(pair.images, config.preprocess)
    wanted = class_numbers(pair.labels, config)
    mask = _turned(
        torch.as_tensor(wanted, dtype=torch.float32),
        torch.as_tensor(pair.image.affine),
        config.preprocess,
        "nearest",
    )
    numbers = np.rint(mask[0].numpy()).astype(np.uint8)
    whole, labels = numbers > 0, scan.placement.to_input(numbers, 0)
    return Prepared(
        image=scan.image,
        mask=np.ascontiguousarray(labels),
        spacing_mm=scan.spacing_mm,
        resampled_away=_resampled_away(pair, config, float(whole.sum() * np.prod(scan.spacing_mm))),
        cropped_away=1.0 - np.count_nonzero(labels) / float(whole.sum()) if whole.any() else 0.0,
        outside=_outside(whole, scan.shown),
        lost=_lost(numbers, labels, scan.placement, config.classes is not None),
        gone=_gone(wanted, labels, config.class_names),
    )


def prepare_scan(images: Sequence[Volume], settings: PreprocessConfig) -> PreparedScan:
    """The images of one scan, turned, resampled, cropped and scaled: all that a prediction needs.

    Args:
        images: One a channel, on one grid.
        settings: Those that the network was trained with.
    """
    turned = _on_common_grid(images, settings)
    channels = [np.asarray(image[0].numpy()) for image in turned]
    patient = [foreground_mask(channel) for channel in channels]
    shown = np.logical_or.reduce(patient)
    placement = _placement(images[0], turned[0], shown, settings)
    values = [
        placement.to_input(_scaled(channel, inside, settings), padding_value(settings))
        for channel, inside in zip(channels, patient, strict=True)
    ]
    return PreparedScan(
        image=np.ascontiguousarray(np.stack(values)),
        spacing_mm=tuple(float(size) for size in turned[0].pixdim),  # type: ignore[arg-type]
        shown=shown,
        placement=placement,
    )


def padding_value(settings: PreprocessConfig) -> float:
    """What stands in a network's input where there is no scan: the background of its own scale."""
    return 0.0 if settings.window is None else -1.0


def scale_intensity(
    image: NDArray[np.float32], foreground: NDArray[np.bool_], percentiles: tuple[float, float]
) -> NDArray[np.float32]:
    """Clip the foreground to its percentiles, bring it to mean 0 and standard deviation 1; background 0.

    Args:
        image: (D, H, W), any unit.
        foreground: (D, H, W).
        percentiles: Of the foreground, in per cent.
    """
    inside = image[foreground].astype(np.float64)
    low, high = np.percentile(inside, percentiles)
    clipped = np.clip(inside, low, high)
    if clipped.std() == 0.0:
        # A two-valued image has no spread inside its foreground: scale it as a whole.
        whole = image.astype(np.float64)
        spread = whole.std() or 1.0  # resampling can leave one value only
        return np.asarray((whole - whole.mean()) / spread, dtype=np.float32)
    scaled = np.zeros(image.shape, dtype=np.float32)
    scaled[foreground] = (clipped - clipped.mean()) / clipped.std()
    return scaled


def scale_window(image: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.float32]:
    """Clip to the window and map its ends to -1 and 1: a Hounsfield unit means the same in every scan.

    Args:
        image: (D, H, W), in the window's unit.
        window: Lowest and highest value kept.
    """
    low, high = window
    return np.asarray(2 * (np.clip(image, low, high) - low) / (high - low) - 1, dtype=np.float32)


def background_value(image: NDArray[np.float32]) -> float | None:
    """The constant around the patient, or None where the scan has none.

    Args:
        image: (D, H, W).
    """
    faces = [image.take(index, axis).ravel() for axis in range(3) for index in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    if counts.max() < MIN_BORDER_SHARE * counts.sum():
        return None
    return float(values[counts.argmax()])


def foreground_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(D, H, W) bool: voxels off the background by more than a thousandth of the patient's own range."""
    background = background_value(image)
    if background is None:
        return np.ones(image.shape, dtype=bool)
    off = image != background
    if not off.any():
        return np.ones(image.shape, dtype=bool)
    low, high = np.percentile(image[off], (1, 99))
    # The range of the patient, not of the volume: one hot voxel must not hide the rest.
    scale = max(float(high - low), abs(float(high) - background), abs(float(low) - background))
    return np.asarray(np.abs(image - np.float32(background)) > _TOLERANCE * scale)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Smallest box around the True voxels of a (D, H, W) mask; the whole volume where there are none."""
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1]), slice(0, mask.shape[2])
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return box[0], box[1], box[2]


def _on_common_grid(images: Sequence[Volume], settings: PreprocessConfig) -> list[MetaTensor]:
    """Each image as (1, D, H, W) in the orientation and on the spacing of the settings."""
    affine = torch.as_tensor(images[0].affine)
    # Air outside the scanner's field may be -1024 or -3024: clipped first, it is one background.
    voxels = [
        image.data if settings.window is None else np.clip(image.data, *settings.window) for image in images
    ]
    return [_turned(torch.as_tensor(channel), affine, settings, "bilinear") for channel in voxels]


def _turned(voxels: torch.Tensor, affine: torch.Tensor, settings: PreprocessConfig, mode: str) -> MetaTensor:
    # MONAI takes seconds to import, and a cached data set never needs it.
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import Orientation, Spacing

    # MONAI takes differences of 1e-3 mm for none: tiny voxels are shown to it as voxels of 1 mm or more.
    larger = torch.ones(4, 1, dtype=affine.dtype)
    larger[:3] = _enlargement(float(affine[:3, :3].norm(dim=0).min()))
    turned: Any = MetaTensor(voxels[None], affine=affine * larger)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="monai")
        turned = Orientation(axcodes=settings.orientation)(turned)
        if settings.spacing_mm is not None:
            spacing = [size * float(larger[0]) for size in settings.spacing_mm]
            turned = Spacing(spacing, mode=mode, padding_mode="border")(turned)
    turned.affine = turned.affine / larger
    return turned  # type: ignore[no-any-return]


def _enlargement(smallest_mm: float) -> float:
    """A power of two, which rounds nothing, that makes an edge at least 1 mm; 1 for voxels of usual size."""
    return 1.0 if smallest_mm >= _TINY_MM else 2.0 ** math.ceil(-math.log2(smallest_mm))


def _placement(
    scan: Volume, turned: MetaTensor, shown: NDArray[np.bool_], settings: PreprocessConfig
) -> Placement:
    box = bounding_box(shown if settings.crop_foreground else np.ones_like(shown))
    box_shape = (box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start)
    shape = settings.shape or box_shape
    return Placement(
        scan_shape=scan.data.shape,
        scan_affine=scan.affine,
        grid_shape=shown.shape,
        grid_affine=np.asarray(turned.affine.numpy(), dtype=np.float64),
        box_start=(box[0].start, box[1].start, box[2].start),
        box_shape=box_shape,
        start=centred_start(box_shape, shape),
        shape=shape,
    )


def _scaled(
    image: NDArray[np.float32], inside: NDArray[np.bool_], settings: PreprocessConfig
) -> NDArray[np.float32]:
    if settings.window is not None:
        return scale_window(image, settings.window)
    return scale_intensity(image, inside, settings.percentiles)


def _outside(mask: NDArray[np.bool_], shown: NDArray[np.bool_]) -> float:
    if not (mask & ~shown).any():
        return 0.0
    # A lung under a soft-tissue window, or fluid at exactly the background's value, is still the patient.
    return float((mask & ~ndimage.binary_fill_holes(shown)).sum()) / float(mask.sum())


def _lost(
    whole: NDArray[np.uint8], kept: NDArray[np.uint8], placement: Placement, with_number: bool
) -> NDArray[np.int32]:
    """Foreground of the grid that is none in the input, as indices of the input."""
    places = np.argwhere(whole)
    voxels = places - np.add(placement.box_start, placement.start)
    is_inside = ((voxels >= 0) & (voxels < kept.shape)).all(axis=1)
    is_kept = np.zeros(len(voxels), dtype=bool)
    is_kept[is_inside] = kept[tuple(voxels[is_inside].T)] != 0
    if with_number:
        voxels = np.column_stack([voxels, whole[tuple(places.T)]])
    return voxels[~is_kept].astype(np.int32)


def _gone(before: NDArray[np.uint8], after: NDArray[np.uint8], names: Sequence[str]) -> tuple[str, ...]:
    numbers = np.setdiff1d(np.unique(before), np.unique(after)) if names else ()
    return tuple(names[number - 1] for number in numbers if number)


def _resampled_away(pair: Pair, config: DatasetConfig, kept_mm3: float) -> float:
    if config.preprocess.spacing_mm is None:
        return 0.0
    n_before = int(np.count_nonzero(foreground_of(pair.labels, config.foreground)))
    voxel_mm3 = abs(float(np.linalg.det(pair.image.affine[:3, :3])))
    return max(0.0, 1.0 - kept_mm3 / (n_before * voxel_mm3)) if n_before else 0.0
