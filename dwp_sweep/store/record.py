"""What a published node says about itself: its record, and the manifest with the checksums of its files.

The record holds config, metrics and end; MLflow gets a copy of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, get_args

from dwp_sweep.atomic_write import sync_file, write_whole
from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.strict import json_of, shortened

MANIFEST = "manifest.json"

Status = Literal["done", "failed", "pruned"]

HISTORY = "history.jsonl"
"""In a node's working folder: its epochs up to now, a `Point` a line."""

_LARGEST = 2**53
"""Whole numbers up to here are exact in JSON, in floats and in databases."""
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""Errors from reading values of a wrong form: a file on a storage may hold anything."""


@dataclass(frozen=True)
class Point:
    """Metrics of one step (epoch). ``time_ms`` is Unix time, so that MLflow drops a repeated point."""

    step: int
    time_ms: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Record:
    """How a node ended.

    Attributes:
        key: The node's key.
        stage: Its stage.
        status: ``done`` (published), ``failed``, or ``pruned`` (given up early by a search).
        config: The resolved config of the stage, unkeyed values included.
        inputs: Keys of its inputs by role.
        labels: ``method``, ``train_size``, ``split``, ``seed``, ``group`` where they apply.
        metrics: Final metrics (``test_dice``, ``best_val_dice``, ``wall_s``, ...).
        history: One point an epoch, in order of step.
        started_ms: Unix time of the first attempt that contributed.
        wall_s: Seconds of work of all attempts that contributed.
        versions: Of the packages that matter.
        host: Name of the machine.
        error: For ``failed``: one line, then the traceback; for ``pruned``: why.
        failure: For ``failed``: its kind, ``lost``, ``memory``, ``gpu_memory``, ``no_gpu``, ``stalled`` or
            ``error``.
        device: What the last attempt computed on: ``cpu``, or the name of the GPU; empty: not known.
    """

    key: str
    stage: str
    status: Status
    config: dict[str, Any]
    inputs: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    history: tuple[Point, ...] = ()
    started_ms: int = 0
    wall_s: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    host: str = ""
    error: str | None = None
    failure: str = ""
    device: str = ""


def write_record(record: Record, path: Path, durable: bool = True) -> None:
    """Write a record as JSON beside its place, then rename; see `write_json`."""
    write_json(path, record_values(record), durable)


def record_values(record: Record) -> dict[str, Any]:
    """A record as plain values, as its file holds them."""
    return asdict(record) | {"history": [asdict(point) for point in record.history]}


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        FileNotFoundError: Where there is none.
        ValueError: Where the file is no record.
    """
    text = path.read_text(errors="replace")
    try:
        values = json_of(text)
    except UNREADABLE as error:
        raise ValueError(f"{path} is no record of a node: {error}") from error
    return record_of(values, str(path))


def record_of(values: Any, where: str) -> Record:
    """Inverse of `record_values`; ``where`` names the place in the error.

    Raises:
        ValueError: The values are no record.
    """
    try:
        history = tuple(_point(item) for item in values["history"])
        return _sound(Record(**{**values, "history": history, "metrics": _floats(values["metrics"])}))
    except UNREADABLE as error:
        raise ValueError(f"{where} is no record of a node: {error}") from error


def first_line(text: str | None) -> str:
    """The line of a message that a display shows."""
    lines = (text or "").strip().splitlines()
    return lines[0] if lines else "failed without a message"


def append_point(path: Path, point: Point) -> None:
    """Append one epoch to a history file (JSON lines)."""
    with path.open("a+b") as file:
        if file.tell() and not _ends_in_newline(file):
            file.write(b"\n")  # a killed worker may leave half a line: this point needs a line of its own
        file.write(json.dumps(_nameable(asdict(point))).encode() + b"\n")


def read_history(path: Path) -> tuple[Point, ...]:
    """The points of a history file, one a step (a later line wins), in order; half a last line is dropped."""
    return history_of(path.read_text(errors="replace")) if path.exists() else ()


def history_of(text: str) -> tuple[Point, ...]:
    """The points of a history file's text; see `read_history`."""
    points = {}
    for line in text.splitlines():
        try:
            point = _point(json_of(line))
        except UNREADABLE:
            continue
        points[point.step] = point
    return tuple(points[step] for step in sorted(points))


def write_json(path: Path, values: Mapping[str, Any], durable: bool = True) -> None:
    """Write strict JSON (non-finite numbers as strings) atomically: beside, fsync, rename.

    Args:
        path: The file.
        values: Its content.
        durable: Wait for the disk; False for files that are synced later or rewritten after a crash.
    """
    write_whole(path, json_text(values), durable)


def json_text(values: Mapping[str, Any]) -> str:
    """Strict JSON; non-finite numbers as strings."""
    return json.dumps(_nameable(values), indent=1, allow_nan=False)


def entries_of(folder: Path) -> dict[str, dict[str, int | str]]:
    """Size and checksum of every file but the manifest, by name; waits until the disk holds the files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    for path in files:
        sync_file(path)
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in files
    }


def check_files(folder: Path) -> None:
    """Compare the files of a folder with the manifest in it.

    Raises:
        CorruptArtifactError: Names the first file that is missing or differs.
    """
    try:
        files = json_of((folder / MANIFEST).read_text())["files"]
        expected = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (OSError, *UNREADABLE) as error:
        raise CorruptArtifactError(f"{folder / MANIFEST} is no manifest: {error}") from error
    for name, (size, digest) in expected.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise CorruptArtifactError(f"{folder / MANIFEST} names a file outside its folder: {name}")
        if not path.is_file():
            raise CorruptArtifactError(f"{path} is missing")
        if path.stat().st_size != size or file_sha256(path) != digest:
            raise CorruptArtifactError(f"{path} differs from its checksum in {MANIFEST}")


def is_inside(name: str) -> bool:
    """Whether the name of a file does not lead out of its folder."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and not {"\\", "\0"} & set(name)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def whole_number(value: Any) -> int:
    """A number of a file that counts something: Unix time in ms, an epoch, a process.

    Raises:
        ValueError: It is negative, or larger than databases and clocks take.
    """
    number = int(value)
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"{shortened(str(number))} is no number of steps or of milliseconds")
    return number


def _point(values: Mapping[str, Any]) -> Point:
    return Point(whole_number(values["step"]), whole_number(values["time_ms"]), _floats(values["metrics"]))


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _sound(record: Record) -> Record:
    """The record, after a check of the types of its fields.

    Raises:
        TypeError: A field has a wrong type; names it.
    """
    types: dict[str, type | tuple[type, ...]] = dict.fromkeys(("key", "stage", "host"), str)
    types |= dict.fromkeys(("config", "inputs", "labels", "versions"), dict)
    types |= {"started_ms": int, "wall_s": (int, float), "error": (str, type(None))}
    wrong = [name for name, kind in types.items() if not isinstance(getattr(record, name), kind)]
    if wrong or record.status not in get_args(Status):
        raise TypeError(f"wrong kind of {', '.join(wrong) or 'status'}")
    whole_number(record.started_ms)
    if not 0.0 <= float(record.wall_s) <= _LARGEST:
        raise ValueError(f"wall_s = {shortened(str(record.wall_s))} is no number of seconds")
    return record


def _ends_in_newline(file: IO[bytes]) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _nameable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): _nameable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nameable(item) for item in value]
    return value
