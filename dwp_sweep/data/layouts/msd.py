"""Layout ``msd``: a Medical Segmentation Decathlon task, described by its ``dataset.json``.

``training`` lists image and label files; the subject's id is the image's file name. ``labels``
says which values a mask may hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts.listing import Listing, Subject, make_listing, stem
from dwp_sweep.errors import Problem


def list_msd(config: DatasetConfig, root: Path) -> Listing:
    """Subjects of ``dataset.json`` under `root`."""
    path = root / "dataset.json"
    described = _read(path)
    if isinstance(described, Problem):
        return Listing((), (described,))
    subjects, problems, broken = [], [], {}
    for number, entry in enumerate(described["training"]):
        image = _file(entry, "image")
        label = _file(entry, "label")
        where = f"training[{number}] is {json.dumps(entry)[:80]}"
        if image is None:
            problems.append(Problem(str(path), f"{where}: no image", 'write {"image": ..., "label": ...}'))
        elif label is None:
            what = f"image without mask: {where}"
            broken[stem(root / image)] = (Problem(str(path), what, 'write {"image": ..., "label": ...}'),)
        else:
            subjects.append(Subject(stem(root / image), root / image, root / label))
    return make_listing(subjects, problems, broken, _label_set(described.get("labels")))


def _read(path: Path) -> dict[str, Any] | Problem:
    if not path.is_file():
        return Problem(
            str(path),
            "there is no dataset.json in this folder",
            "layout msd needs one; or choose another layout",
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        return Problem(str(path), f"is no JSON: {error}", "repair or download the file again")
    if not isinstance(values, dict) or not isinstance(values.get("training"), list):
        return Problem(
            str(path), "has no list 'training' of images and labels", "see the layout of medicaldecathlon.com"
        )
    return values


def _file(entry: object, role: str) -> str | None:
    value = entry.get(role) if isinstance(entry, Mapping) else None
    return value if isinstance(value, str) and value else None


def _label_set(labels: object) -> frozenset[int] | None:
    """Values of ``{"0": "background"}`` or, in newer files, ``{"background": 0}``."""
    if not isinstance(labels, Mapping):
        return None
    for values in (labels.keys(), labels.values()):
        try:
            return frozenset(int(value) for value in values) | {0}
        except (TypeError, ValueError):
            continue
    return None
