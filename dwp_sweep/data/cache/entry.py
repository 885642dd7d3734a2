"""An entry of the cache: one scan as the network sees it, in a folder named by content and settings.

Written beside and renamed into place, so that no reader sees half of one; read as memory maps. Voxel sizes of
a training set are kept beside its network: without resampling the network learned structures as so many
voxels, and a scan with other voxels shows it other sizes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwp_sweep.atomic_write import ABANDONED_S, place_beside, remove, sync_file
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.preprocess import Prepared
from dwp_sweep.strict import keyed_values

CACHE_VERSION = 1
"""Raised by hand when preprocessing gives other voxels for the same settings."""

IMAGE, MASK, META = "image.npy", "mask.npy", "meta.json"
_PUBLISH_ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class Case:
    """One subject as the network sees it.

    Attributes:
        id: The subject's id.
        image: (C, D, H, W) float32; of a cached case a read-only memory map.
        mask: (D, H, W) uint8, 1 is foreground; likewise.
        spacing_mm: Voxel size along D, H, W.
        background: Value of the image where there is no scan; what pads it.
    """

    id: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    background: float = 0.0


class StoredCase(Case):
    """A case whose voxels stay in the cache: every look maps the file anew and lets go of it afterwards.

    Maps that stay open count as memory of the process once they are read, and take two open files a
    subject: a data set of hundreds would fill both.

    Args:
        id: The subject's id.
        folder: Its entry in the cache.
        spacing_mm: Voxel size along D, H, W.
        background: As in `Case`.
    """

    def __init__(
        self, id: str, folder: Path, spacing_mm: tuple[float, float, float], background: float
    ) -> None:
        for name, value in (("id", id), ("spacing_mm", spacing_mm), ("background", background)):
            object.__setattr__(self, name, value)
        self._folder = folder

    @property
    def image(self) -> NDArray[np.float32]:
        """(C, D, H, W), read-only."""
        return _mapped(self._folder / IMAGE)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(D, H, W), read-only."""
        return _mapped(self._folder / MASK)


def entry_folder(config: DatasetConfig, hashes: Sequence[str], cache_dir: Path) -> Path:
    """Where the entry of a scan lies.

    Args:
        config: `preprocess`, `labels` and `channel` are read.
        hashes: Of the content of the scan's files, in their order.
        cache_dir: Folder of the cache.
    """
    labels = sorted(set(config.labels)) if config.labels is not None else None
    settings = keyed_values(config.preprocess)
    identity = [CACHE_VERSION, *hashes, settings, labels, config.channel or 0]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return cache_dir / "volumes" / key


def read_entry(subject_id: str, folder: Path, background: float = 0.0) -> Case | None:
    """The entry, or None where it is missing or damaged."""
    try:
        spacing_mm = json.loads((folder / META).read_text())["spacing_mm"]
        image, mask = _mapped(folder / IMAGE), _mapped(folder / MASK)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    if image.dtype != np.float32 or mask.dtype != np.uint8 or image.shape[1:] != mask.shape:
        return None
    return StoredCase(subject_id, folder, tuple(spacing_mm), background)


def publish_entry(prepared: Prepared, folder: Path) -> None:
    """Write an entry beside its place and rename it; where another process was first, its entry stays."""
    if read_entry("", folder) is not None:
        return
    _sweep(folder)
    with place_beside(folder) as beside:
        beside.mkdir(parents=True)
        _write(beside, prepared)
        _publish(beside, folder)


def _write(folder: Path, prepared: Prepared) -> None:
    np.save(folder / IMAGE, prepared.image)
    np.save(folder / MASK, prepared.mask)
    (folder / META).write_text(json.dumps({"spacing_mm": prepared.spacing_mm}))
    for name in (IMAGE, MASK, META):
        sync_file(folder / name)


def _publish(beside: Path, folder: Path) -> None:
    """Rename into place; where another process was first, its entry stays unless it is damaged."""
    for _ in range(_PUBLISH_ATTEMPTS):
        try:
            beside.rename(folder)
            return
        except OSError:
            if read_entry("", folder) is not None:
                break
            # Renamed before it is removed, so that nobody ever finds half of it under its name.
            with place_beside(folder) as aside, contextlib.suppress(OSError):
                folder.rename(aside)


def _sweep(folder: Path) -> None:
    """Remove what builders of this entry left when they were killed."""
    for path in folder.parent.glob(f".*{folder.name}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                remove(path)


def _mapped(path: Path) -> NDArray[Any]:
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


MOST_ALIKE = 1.25
"""Voxels that are more than so many times larger or smaller along an axis are other voxels."""

VOXEL_SIZE = "spacing_mm"
"""Its name among the facts of a network."""

Spacing = tuple[float, float, float]
"""Voxel size along D, H, W, mm."""


def median_voxel_size(cases: Sequence[Case]) -> Spacing:
    """The median of prepared scans along each axis, mm; at least one scan."""
    middle = np.median([case.spacing_mm for case in cases], axis=0)
    return float(middle[0]), float(middle[1]), float(middle[2])


def stored_voxel_size(facts: Mapping[str, Any]) -> Spacing | None:
    """What a network's facts say of its training; None for networks that were made before they said it."""
    value = facts.get(VOXEL_SIZE)
    if not isinstance(value, list) or len(value) != 3:
        return None
    return float(value[0]), float(value[1]), float(value[2])


def is_unlike(scan: Spacing, trained: Spacing) -> bool:
    """Whether a scan's voxels differ by more than `MOST_ALIKE` along any axis."""
    return any(max(a / b, b / a) > MOST_ALIKE for a, b in zip(scan, trained, strict=True))
