"""From a scan as stored to a network's input: RAS, spacing, foreground crop, intensity, shape.

Runs once a scan, behind the cache. Deterministic; knows no subjects and no files.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.foreground import bounding_box, foreground_mask
from dwp_sweep.data.pair import Pair, foreground_of

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor


@dataclass(frozen=True)
class Prepared:
    """A scan ready for a network; axes run to the patient's right, front and top.

    Attributes:
        image: (1, D, H, W) float32; foreground with mean 0 and standard deviation 1, background 0.
        mask: (D, H, W) uint8, 1 is foreground.
        spacing_mm: Voxel size along D, H, W.
        resampled_away: Share of the foreground's volume that resampling the mask removed.
        cropped_away: Share of the resampled foreground that the crops removed.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    resampled_away: float
    cropped_away: float


def preprocess(pair: Pair, config: DatasetConfig) -> Prepared:
    """Turn, resample, crop and scale one scan as `config.preprocess` says; `config.labels` is foreground."""
    settings = config.preprocess
    image, mask = _on_common_grid(pair, foreground_of(pair.labels, config.labels), settings)
    values, whole = image[0].numpy(), mask[0].numpy() > 0.5
    spacing_mm = tuple(float(size) for size in image.pixdim)
    foreground = foreground_mask(values)
    box = bounding_box(foreground) if settings.crop_foreground else np.s_[:, :, :]
    values = _to_shape(scale_intensity(values, foreground, settings.percentiles)[box], settings.shape)
    labels = _to_shape(whole[box].astype(np.uint8), settings.shape)
    return Prepared(
        image=np.ascontiguousarray(values[None]),
        mask=np.ascontiguousarray(labels),
        spacing_mm=spacing_mm,  # type: ignore[arg-type]
        resampled_away=_resampled_away(pair, config, float(whole.sum() * np.prod(spacing_mm))),
        cropped_away=1.0 - float(labels.sum()) / float(whole.sum()) if whole.any() else 0.0,
    )


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


def _on_common_grid(
    pair: Pair, foreground: NDArray[np.bool_], settings: PreprocessConfig
) -> tuple[MetaTensor, MetaTensor]:
    """Image and mask as (1, D, H, W) in RAS, on the spacing asked for."""
    # MONAI takes seconds to import, and a cached data set never needs it.
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import Orientation, Spacing

    affine = torch.as_tensor(pair.image.affine)
    image: Any = MetaTensor(torch.as_tensor(pair.image.data)[None], affine=affine)
    mask: Any = MetaTensor(torch.as_tensor(foreground, dtype=torch.float32)[None], affine=affine)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="monai")
        turn = Orientation(axcodes="RAS")
        image, mask = turn(image), turn(mask)
        if settings.spacing_mm is not None:
            image = Spacing(settings.spacing_mm, mode="bilinear", padding_mode="border")(image)
            mask = Spacing(settings.spacing_mm, mode="nearest", padding_mode="border")(mask)
    return image, mask


def _to_shape(values: NDArray[Any], shape: tuple[int, int, int] | None) -> NDArray[Any]:
    if shape is None or values.shape == shape:
        return values
    from monai.transforms.croppad.array import ResizeWithPadOrCrop

    resized: Any = ResizeWithPadOrCrop(shape, mode="constant")(
        torch.as_tensor(np.ascontiguousarray(values))[None]
    )
    return np.asarray(resized[0].numpy())


def _resampled_away(pair: Pair, config: DatasetConfig, kept_mm3: float) -> float:
    if config.preprocess.spacing_mm is None:
        return 0.0
    n_before = int(np.count_nonzero(foreground_of(pair.labels, config.labels)))
    voxel_mm3 = abs(float(np.linalg.det(pair.image.affine[:3, :3])))
    return max(0.0, 1.0 - kept_mm3 / (n_before * voxel_mm3)) if n_before else 0.0
