"""Layouts whose subjects stand in a file: ``msd`` in ``dataset.json``, ``pairs`` in a CSV.

``msd`` is a task of the Medical Segmentation Decathlon: ``training`` lists image and label files, the
subject's id is the image's file name, ``labels`` says which values a mask may hold. ``pairs`` is a CSV with
the columns image, mask, subject and any folder structure; the root is the CSV, or a folder that holds
``pairs.csv``, and relative paths start at the CSV's folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts.listing import Listing, Subject, make_listing, stem
from dwp_sweep.data.table import read_table
from dwp_sweep.errors import InputError, Problem


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


COLUMNS = ("image", "mask", "subject")


def list_pairs(config: DatasetConfig, root: Path) -> Listing:
    """Every row of the CSV."""
    path = root / "pairs.csv" if root.is_dir() else root
    try:
        rows = read_table(path, COLUMNS)
    except InputError as error:
        return Listing((), error.problems)
    subjects, problems, broken = [], [], {}
    for row in rows:
        empty = [column for column in COLUMNS if not row[column]]
        if not empty:
            subjects.append(Subject(row["subject"], _path(path, row["image"]), _path(path, row["mask"])))
            continue
        what = "image without mask" if empty == ["mask"] else f"nothing in column {', '.join(empty)}"
        problem = Problem(f"{path}, line {row['line']}", what, "fill it in or remove the line")
        if row["subject"]:
            broken[row["subject"]] = (problem,)
        else:
            problems.append(problem)
    return make_listing(subjects, problems, broken)


def _path(csv_path: Path, text: str) -> Path:
    return csv_path.parent / Path(text).expanduser()
