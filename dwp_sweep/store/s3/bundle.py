"""Whole folders in a bucket, each uploaded by an attempt and valid once its manifest exists.

``<name>/manifest.json`` is created last and only once: it names the attempt whose files
``files/<name>/<attempt>/...`` are valid, with their sizes and checksums. The files of an attempt that came
second or did not end are never read.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.errors import CorruptArtifactError
from dwp_sweep.store.protocol import FILES
from dwp_sweep.store.record import MANIFEST, UNREADABLE, entries_of, file_sha256, is_inside, json_text
from dwp_sweep.store.s3.bucket import Bucket, side_by_side
from dwp_sweep.strict import json_of


@dataclass(frozen=True)
class Bundle:
    """A folder in a bucket, as its manifest describes it.

    Attributes:
        name: ``<stage>/<key>``.
        attempt: The attempt whose files are valid.
        files: Name -> (bytes, SHA-256).
        record: Record of the node; empty for a folder that is no node.
    """

    name: str
    attempt: str
    files: Mapping[str, tuple[int, str]]
    record: Mapping[str, Any]

    def place(self, file: str) -> str:
        """Name of a file's object."""
        return f"{attempt_folder(self.name, self.attempt)}{file}"


def attempt_folder(name: str, attempt: str) -> str:
    """Where the files of an attempt lie."""
    return f"{FILES}/{name}/{attempt}/"


def manifest_name(name: str) -> str:
    """Name of the object that makes a bundle valid."""
    return f"{name}/{MANIFEST}"


def upload(bucket: Bucket, name: str, folder: Path, record: Mapping[str, Any]) -> Bundle | None:
    """Upload a folder and make it the bundle of this name, unless there is one already.

    Returns:
        The bundle; None where another builder was first: the files uploaded here are removed.
    """
    attempt, files = uuid.uuid4().hex[:16], entries_of(folder)
    prefix = attempt_folder(name, attempt)
    side_by_side(lambda file: bucket.upload(folder / file, prefix + file), files)
    stage, _, key = name.partition("/")
    values = {"key": key, "stage": stage, "attempt": attempt, "files": files, "record": record}
    text = json_text(values).encode()
    if bucket.create(manifest_name(name), text):
        return parse(name, text)
    bucket.remove(prefix + file for file in files)
    return None


def parse(name: str, text: bytes | str) -> Bundle:
    """A bundle from the text of its manifest.

    Raises:
        CorruptArtifactError: It is none, or names files outside the bundle.
    """
    try:
        values = json_of(text)
        files = {
            str(file): (int(entry["size"]), str(entry["sha256"])) for file, entry in values["files"].items()
        }
        bundle = Bundle(name, str(values["attempt"]), files, dict(values.get("record") or {}))
    except UNREADABLE as error:
        raise CorruptArtifactError(f"{manifest_name(name)} is no manifest: {error}") from error
    outside = [file for file in (*files, bundle.attempt) if not is_inside(file)]
    if outside or not bundle.attempt.isalnum():
        raise CorruptArtifactError(f"{manifest_name(name)} names a file outside its folder: {outside}")
    return bundle


def download(bucket: Bucket, bundle: Bundle, folder: Path) -> None:
    """Download all files of a bundle into a new folder.

    Raises:
        CorruptArtifactError: A file is missing or differs from the manifest.
    """
    side_by_side(lambda file: download_file(bucket, bundle, file, folder / file), bundle.files)


def download_file(bucket: Bucket, bundle: Bundle, file: str, path: Path) -> None:
    """Download one file of a bundle; see `download`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place, (size, digest) = bundle.place(file), bundle.files[file]
    if not bucket.download(place, path):
        raise CorruptArtifactError(f"{bucket.url}/{place} is missing")
    if path.stat().st_size != size or file_sha256(path) != digest:
        raise CorruptArtifactError(f"{bucket.url}/{place} differs from its checksum in {MANIFEST}")
