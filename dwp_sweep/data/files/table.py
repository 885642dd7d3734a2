"""Small CSV tables that users write: pairs of files, splits.

Tolerates what spreadsheets produce: a byte-order mark, semicolons, spaces, capitals in the header,
empty lines, accents as characters of their own.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from dwp_sweep.data.files.names import composed, is_file
from dwp_sweep.errors import InputError, Problem


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV as column -> text; each has its line number under ``line``.

    Raises:
        InputError: Missing file, no text, no rows, or columns that are not there.
    """
    lines = _lines(path)
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    reader = csv.reader(lines, delimiter=delimiter)
    header = [name.strip().lower() for name in next(reader, [])]
    absent = [name for name in columns if name not in header]
    if absent:
        what = f"has no column {', '.join(absent)}; its first line is {delimiter.join(header)[:80]!r}"
        raise InputError(
            Problem(str(path), what, f"the first line must name the columns {','.join(columns)}")
        )
    rows = []
    for values in reader:
        if any(value.strip() for value in values):
            cells = [value.strip() for value in values] + [""] * len(header)
            rows.append({**dict(zip(header, cells, strict=False)), "line": str(reader.line_num)})
    if not rows:
        raise InputError(Problem(str(path), "has a header but no rows", "add one line a subject"))
    return rows


def _lines(path: Path) -> list[str]:
    if not is_file(path):
        raise InputError(Problem(str(path), "there is no such file", "check the path"))
    try:
        return composed(path.read_text(encoding="utf-8-sig")).splitlines(keepends=True)
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(
            Problem(str(path), f"cannot be read as text: {error}", "save it as CSV in UTF-8")
        ) from None
