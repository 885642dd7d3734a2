"""Generated data sets on disk: NIfTI in the MSD layout, as real data would lie there.

The sweep reads a phantom through the same layout, check and cache as scans; only this file knows that
they are generated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dwp_sweep.atomic_write import write_whole
from dwp_sweep.data.config import DatasetConfig, PhantomConfig
from dwp_sweep.data.files.volumes import write_volume
from dwp_sweep.data.phantom.subject import LABELS, scan_subject
from dwp_sweep.errors import InputError, Problem

PHANTOM_VERSION = 1
"""Raised by hand when the same settings give other voxels."""

_PREFIX = {"lesions": "plaques", "tumour": "tumour"}


def ensure_phantom(
    config: DatasetConfig, storage: Path, progress: Callable[[int, int], None] | None = None
) -> DatasetConfig:
    """Write the phantom of a data set under the storage if it is not there, and fill in its root.

    Args:
        config: Returned as it is unless it has the section `phantom`.
        storage: Root of the storage; the folder is ``phantom/<hash of the settings>``.
        progress: Called with (done, total) while subjects are written.
    """
    if config.phantom is None:
        return config
    identity = json.dumps(_settings(config.phantom), sort_keys=True)
    root = storage / "phantom" / hashlib.sha256(identity.encode()).hexdigest()[:16]
    write_phantom(config.phantom, root, progress)
    return config.model_copy(update={"root": str(root), "layout": "phantom"})


def write_phantom(
    config: PhantomConfig, root: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write all subjects and, last, ``dataset.json``; do nothing where the same phantom is complete.

    Equal settings give equal files, so an interrupted or doubled writer does no harm.

    Raises:
        InputError: The folder holds something else.
    """
    if _is_complete(config, root):
        return
    for index, entry in enumerate(_entries(config)):
        scan = scan_subject(config, index)
        write_volume(root / entry["image"], scan.image, scan.affine)
        write_volume(root / entry["label"], scan.labels, scan.affine)
        if progress is not None:
            progress(index + 1, config.n_subjects)
    write_whole(root / "dataset.json", json.dumps(_description(config), indent=1), durable=False)


def _settings(config: PhantomConfig) -> dict[str, Any]:
    return {"version": PHANTOM_VERSION, **config.model_dump(mode="json", exclude=set(config.unread()))}


def _entries(config: PhantomConfig) -> list[dict[str, str]]:
    names = [f"{_PREFIX[config.shows]}_{index:04d}.nii.gz" for index in range(config.n_subjects)]
    return [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]


def _is_complete(config: PhantomConfig, root: Path) -> bool:
    path = root / "dataset.json"
    if not path.is_file():
        if root.exists() and (not root.is_dir() or _holds_other_files(root)):
            raise InputError(Problem(str(root), "holds other files", "choose a new or empty folder"))
        return False
    try:
        described = json.loads(path.read_text())
        there = described.get("phantom")
    except (ValueError, AttributeError):
        there = None
    if there != _settings(config):
        what = "holds another data set" if there is None else "holds a phantom with other settings"
        raise InputError(Problem(str(root), what, "choose another folder, or remove this one"))
    entries = _entries(config)
    files = [root / file for entry in entries for file in entry.values()]
    return described.get("training") == entries and all(file.is_file() for file in files)


def _holds_other_files(root: Path) -> bool:
    """Whether there is more than an interrupted writer of a phantom leaves behind."""
    ours = {"imagesTr", "labelsTr"}
    return any(path.name not in ours and not path.name.startswith(".") for path in root.iterdir())


def _modality(config: PhantomConfig) -> str:
    if config.contrast is not None:
        return f"contrast {config.contrast:g} between T2-like (0), FLAIR-like (0.5) and inverted (1)"
    return "FLAIR-like" if config.kind == "source" else "T2-like"


def _description(config: PhantomConfig) -> dict[str, Any]:
    entries = _entries(config)
    labels = {0: "background", **LABELS[config.shows]}
    return {
        "name": f"phantom {config.kind}",
        "description": "Generated scans of a drawn brain; no patient was involved",
        "tensorImageSize": "3D",
        "modality": {"0": _modality(config)},
        "labels": {str(value): name for value, name in labels.items()},
        "numTraining": len(entries),
        "numTest": 0,
        "training": entries,
        "test": [],
        "phantom": _settings(config),
    }
