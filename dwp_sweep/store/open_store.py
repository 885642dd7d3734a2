"""The store of a ``--storage``, which is a folder or ``s3://bucket/prefix``.

This is the only module that lists the kinds of storage.
"""

from __future__ import annotations

import functools
import hashlib
import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.atomic_write import can_be_made
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store

if TYPE_CHECKING:
    from dwp_sweep.store.s3.bucket import Bucket

_SETTINGS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
)
"""Variables of the environment that a client of S3 reads."""

MIRROR_VARIABLE = "DWP_SWEEP_MIRROR"
"""Folder for mirrors of storages on S3; default: ``dwp_sweep`` in the user's folder of caches."""


def open_store(place: str | Path, *, check: bool = True, writes: bool = False) -> Store:
    """The store of a storage.

    Args:
        place: A folder, or ``s3://bucket/prefix``.
        check: Whether to make sure that a bucket answers; waits some seconds at most.
        writes: Whether to make sure that it can be written, too.

    Raises:
        InputError: A URL of another kind; no such bucket; refused credentials; no server answers.
    """
    folder = folder_of(place)
    if folder is not None:
        return LocalStore(folder)
    from dwp_sweep.store.s3.store import BucketStore

    bucket = _bucket(str(place))
    if check:
        bucket.check(writes)
    return BucketStore(bucket, mirror_of(bucket))


def folder_of(place: str | Path) -> Path | None:
    """The absolute folder of a storage; None where the storage is given by an URL.

    Raises:
        InputError: The name holds a control character, such as a line break, or bytes that are no UTF-8:
            MLflow, Ray and listings of names by line would read another path.
    """
    if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in str(place)):
        what = f"{str(place)!r} holds a line break, another control character or bytes that are no UTF-8"
        raise InputError(Problem("--storage", what, "name a folder without them"))
    return None if "://" in str(place) else Path(place).resolve()


def mirror_of(bucket: Bucket) -> Path:
    """The folder of this machine for a bucket's prefix on its server.

    Raises:
        InputError: It cannot be made.
    """
    home = os.environ.get(MIRROR_VARIABLE)
    identity = hashlib.sha256(f"{bucket.endpoint} {bucket.url}".encode()).hexdigest()[:12]
    folder = (Path(home).expanduser() if home else user_cache()) / f"{bucket.bucket}-{identity}"
    if not can_be_made(folder):
        what = f"this machine's copies of {bucket.url} cannot be written to {folder}"
        raise InputError(Problem(MIRROR_VARIABLE, what, "set it to a folder that can be written"))
    return folder


@functools.lru_cache(maxsize=8)
def _opened(url: str, environment: tuple[str | None, ...]) -> Bucket:
    from dwp_sweep.store.s3.bucket import Bucket

    return Bucket(url)


def _bucket(url: str) -> Bucket:
    # A client takes long to make and may be shared; other settings need another one.
    return _opened(url, tuple(os.environ.get(name) for name in _SETTINGS))


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/dwp_sweep``; under ``~/.cache`` where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dwp_sweep"
