"""Layout ``pairs``: a CSV with the columns image, mask, subject; any folder structure.

The root is the CSV, or a folder that holds ``pairs.csv``. Relative paths start at the CSV's folder.
"""

from __future__ import annotations

from pathlib import Path

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts.listing import Listing, Subject, make_listing
from dwp_sweep.data.table import read_table
from dwp_sweep.errors import InputError, Problem

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
