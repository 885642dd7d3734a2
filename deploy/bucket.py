"""Copies all objects of a bucket into a folder, or back: the backup of MLflow's artifacts.

    python bucket.py save BUCKET FOLDER       skips objects that the folder has already with the same size
    python bucket.py restore FOLDER BUCKET    makes the bucket where it is not there

Keys come from the environment as boto3 reads it (AWS_SHARED_CREDENTIALS_FILE, AWS_ENDPOINT_URL_S3, ...;
MLFLOW_S3_ENDPOINT_URL counts too). Artifacts of MLflow never change under one name, so a second `save` copies
what is new. Stands alone: it needs boto3 and nothing of the package.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]


def save(client: Any, bucket: str, folder: Path) -> int:
    """Copy what the folder lacks; returns the number of objects of the bucket.

    Args:
        client: Of S3.
        bucket: Its name.
        folder: Made if missing; one file an object, below its key.

    Raises:
        ValueError: A key that is no path inside the folder.
    """
    n = 0
    for item in _objects(client, bucket):
        n += 1
        path = (folder / item["Key"]).resolve()
        if not path.is_relative_to(folder.resolve()) or item["Key"].endswith("/"):
            raise ValueError(f"the key {item['Key']!r} is no path inside {folder}: copy it by hand")
        if path.is_file() and path.stat().st_size == item["Size"]:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.part")
        client.download_file(bucket, item["Key"], str(beside))
        beside.replace(path)
    return n


def restore(client: Any, folder: Path, bucket: str) -> int:
    """Copy every file of the folder into the bucket; returns their number.

    Args:
        client: Of S3.
        folder: From `save`.
        bucket: Its name; made if missing.

    Raises:
        ValueError: An object is not as large as its file afterwards.
    """
    if bucket not in {each["Name"] for each in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".part"]
    for path in paths:
        client.upload_file(str(path), bucket, path.relative_to(folder).as_posix())
    sizes = {item["Key"]: item["Size"] for item in _objects(client, bucket)}
    wrong = [path for path in paths if sizes.get(path.relative_to(folder).as_posix()) != path.stat().st_size]
    if wrong:
        raise ValueError(f"{len(wrong)} objects are not as large as their files, first {wrong[0]}")
    return len(paths)


def _objects(client: Any, bucket: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from page.get("Contents", ())


def main(words: list[str]) -> int:
    """The command; returns its exit code."""
    client = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None)
    match words:
        case ["save", bucket, folder]:
            print(f"{save(client, bucket, Path(folder))} objects of {bucket} are in {folder}")
        case ["restore", folder, bucket] if Path(folder).is_dir():
            print(f"{restore(client, Path(folder), bucket)} objects of {folder} are in {bucket}")
        case _:
            print("usage: bucket.py save BUCKET FOLDER | bucket.py restore FOLDER BUCKET", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(str(error))
