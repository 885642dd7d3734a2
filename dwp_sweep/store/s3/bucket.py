"""Objects under one prefix of an S3 bucket, through boto3.

Address and credentials come from the usual environment of S3 clients and are never kept. Every failure is a
`StorageError` in plain words.
"""

# Why boto3 and not obstore: obstore 0.12.1 reads neither AWS_PROFILE nor the config files, distinguishes a
# missing bucket from a missing object by the text of the error alone, and does not return the date of the
# server, from which the ages of objects are computed.

from __future__ import annotations

import email.utils
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dwp_sweep.errors import InputError, Problem, StorageError
from dwp_sweep.store.s3.retries import ABSENT, TAKEN, ignoring, is_of_client, problem, with_retries

SCHEME = "s3://"
ADDRESS_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
"""Variables that say where a bucket is; none holds a secret, so that workers get them."""

N_AT_ONCE = 16
_DELETED_AT_ONCE = 1000
_PATIENCE = {
    "connect_timeout": 5,
    "read_timeout": 60,
    "retries": {"mode": "standard", "total_max_attempts": 8},
}
_SHORT_PATIENCE = {
    "connect_timeout": 4,
    "read_timeout": 8,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Entry:
    """An object, as a listing describes it.

    Attributes:
        name: Below the prefix.
        n_bytes: Its size.
        etag: Changes with its content.
        modified_s: Unix time, by the server's clock.
        age_s: Seconds since then, by the server's clock.
    """

    name: str
    n_bytes: int
    etag: str
    modified_s: float
    age_s: float


class Bucket:
    """Objects under ``s3://bucket/prefix``; names are relative to the prefix. Safe for threads.

    Args:
        url: ``s3://bucket`` or ``s3://bucket/prefix``.

    Raises:
        InputError: No such URL; the client's library is missing.
    """

    def __init__(self, url: str) -> None:
        self.bucket, self._prefix = _parts(url)
        self.url = f"{SCHEME}{self.bucket}" + (f"/{self._prefix.rstrip('/')}" if self._prefix else "")
        self._s3 = _client(self.url, **_PATIENCE)

    @property
    def endpoint(self) -> str:
        """Address of the server."""
        return re.sub(r"//[^/@]*@", "//", str(self._s3.meta.endpoint_url))

    def check(self, writes: bool = False) -> None:
        """Make sure that the bucket exists and may be read; waits some seconds at most.

        Args:
            writes: Try to write as well.

        Raises:
            InputError: It does not exist, the credentials are refused, or no server answers.
        """
        client = _client(self.url, **_SHORT_PATIENCE)
        try:
            client.list_objects_v2(Bucket=self.bucket, Prefix=self._prefix, MaxKeys=1)
            refuses = not writes or self._refuses_a_second(client)
        except Exception as error:
            if not is_of_client(error):
                raise
            raise InputError(problem(self, error)) from None
        if not refuses:
            what = f"{self.endpoint} writes over an object that it was asked to create (If-None-Match)"
            fix = "of two builders both would win: take a server that answers 412, as S3 itself does"
            raise InputError(Problem(self.url, what, fix))

    def _refuses_a_second(self, client: Any) -> bool:
        """Whether an object cannot be created where there is one; also tries to write and to remove."""
        name = {"Bucket": self.bucket, "Key": f"{self._prefix}.writable-{uuid.uuid4().hex[:8]}"}
        client.put_object(**name, Body=b"")
        try:
            with ignoring(TAKEN):
                client.put_object(**name, Body=b"", IfNoneMatch="*")
                return False
            return True
        finally:
            client.delete_object(**name)

    @with_retries
    def read(self, name: str) -> bytes | None:
        """An object's content; None where there is none."""
        tagged = self.read_tagged(name)
        return None if tagged is None else tagged[0]

    @with_retries
    def read_tagged(self, name: str) -> tuple[bytes, str] | None:
        """An object's content with its etag; None where there is none."""
        with ignoring(ABSENT):
            answer = self._s3.get_object(Bucket=self.bucket, Key=self._prefix + name)
            return bytes(answer["Body"].read()), str(answer["ETag"])
        return None

    @with_retries
    def stat(self, name: str) -> Entry | None:
        """The entry of one object; None where there is none."""
        with ignoring(ABSENT):
            answer = self._s3.head_object(Bucket=self.bucket, Key=self._prefix + name)
            return _entry(name, int(answer["ContentLength"]), answer, answer)
        return None

    @with_retries
    def write(self, name: str, content: bytes) -> None:
        """Write an object whole, over what was there."""
        self._s3.put_object(Bucket=self.bucket, Key=self._prefix + name, Body=content)

    @with_retries
    def create(self, name: str, content: bytes) -> bool:
        """Write an object unless there is one: one of several writers succeeds.

        Returns:
            Whether the object holds this content because of this call or of an equal one: when the answer
            to a successful request is lost, its repetition finds the object that it has made.
        """
        with ignoring(TAKEN):
            self._s3.put_object(Bucket=self.bucket, Key=self._prefix + name, Body=content, IfNoneMatch="*")
            return True
        present = self.read(name)
        if present is None:  # the other object was removed, or cannot be read yet
            return self.create(name, content)
        return present == content

    @with_retries
    def upload(self, path: Path, name: str) -> None:
        """Upload a file, in parts where it is large."""
        self._s3.upload_file(str(path), self.bucket, self._prefix + name)

    @with_retries
    def download(self, name: str, path: Path) -> bool:
        """Download an object into a file; False where there is none."""
        with ignoring(ABSENT):
            self._s3.download_file(self.bucket, self._prefix + name, str(path))
            return True
        return False

    @with_retries
    def entries(self, folder: str) -> list[Entry]:
        """All objects whose names begin with ``folder``, in order of name."""
        return [
            _entry(str(item["Key"])[len(self._prefix) :], int(item["Size"]), item, page)
            for page in self._pages(folder, "")
            for item in page.get("Contents", ())
        ]

    @with_retries
    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, whose name ends in a slash or is empty."""
        start = len(self._prefix + folder)
        return [
            str(item["Prefix"])[start:].rstrip("/")
            for page in self._pages(folder, "/")
            for item in page.get("CommonPrefixes", ())
        ]

    @with_retries
    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, as far as they exist."""
        keys = [{"Key": self._prefix + name} for name in names]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            part = keys[start : start + _DELETED_AT_ONCE]
            answer = self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": part, "Quiet": True})
            for failure in answer.get("Errors", ()):
                raise StorageError(f"{self.url}: {failure.get('Key')} stays: {failure.get('Message')}")

    def remove_folder(self, folder: str) -> None:
        """Remove all objects whose names begin with ``folder``."""
        self.remove(entry.name for entry in self.entries(folder))

    def _pages(self, folder: str, delimiter: str) -> Iterator[Mapping[str, Any]]:
        pages = self._s3.get_paginator("list_objects_v2")
        yield from pages.paginate(Bucket=self.bucket, Prefix=self._prefix + folder, Delimiter=delimiter)


def side_by_side(work: Callable[[ItemT], ResultT], items: Iterable[ItemT]) -> list[ResultT]:
    """Results of ``work`` for each item, in order; several requests run at once.

    Raises:
        Exception: The first error of ``work``.
    """
    items = list(items)
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(N_AT_ONCE, len(items))) as pool:
        return list(pool.map(work, items))


def address() -> dict[str, str]:
    """Where this process finds its buckets, for processes on other machines; holds no secret."""
    return {name: os.environ[name] for name in ADDRESS_VARIABLES if os.environ.get(name)}


def _parts(url: str) -> tuple[str, str]:
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or not _BUCKET.match(bucket):
        fix = "a folder, or s3://BUCKET/PREFIX"
        raise InputError(Problem(f"--storage {url}", "is no storage that this package knows", fix))
    if {"?", "#"} & set(prefix):
        what = "has ? or # in its prefix, where the path of an URL ends"
        raise InputError(Problem(f"--storage {url}", what, "choose a prefix without them"))
    prefix = "/".join(part for part in prefix.split("/") if part)
    return bucket, f"{prefix}/" if prefix else ""


def _client(url: str, **settings: Any) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        fix = "pip install boto3"
        raise InputError(Problem(url, "storage on S3 needs the package boto3", fix)) from None
    region = os.environ.get("AWS_REGION") or None
    try:
        config = Config(max_pool_connections=2 * N_AT_ONCE, **settings)
        return boto3.session.Session(region_name=region).client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise InputError(Problem(url, f"the settings of its client are wrong: {error}")) from None


def _entry(name: str, n_bytes: int, values: Mapping[str, Any], answer: Mapping[str, Any]) -> Entry:
    modified_s = values["LastModified"].timestamp()
    date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    now_s = email.utils.parsedate_to_datetime(date).timestamp() if date else modified_s
    return Entry(name, n_bytes, str(values["ETag"]), modified_s, max(now_s - modified_s, 0.0))
