"""Bytes of a plain or gzip file, read so that damage shows: its length, and the checksum of a gzip member.

A gzip member ends in a checksum (CRC-32) and the length of its content. A reader that stops at the last byte
that it needs never sees them, and a flipped bit changes voxels in silence. Bytes after the member are left
alone: some programs pad files with zeros.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_GZIP_START = b"\x1f\x8b"
_GZIP_FORMAT = 31
"""zlib's number for gzip, whose header and trailer it then checks."""
_HIGHEST_RATIO = 1032
"""Of deflate: two bits stand for 258 bytes at most."""
_CHUNK_BYTES = 1 << 16


def is_gzip(path: Path) -> bool:
    """Whether the content of a file is gzip, whatever its name says."""
    with path.open("rb") as file:
        return file.read(len(_GZIP_START)) == _GZIP_START


def most_bytes(path: Path) -> int:
    """What a file can hold at most: its size, or of gzip what the densest packing unpacks to."""
    return path.stat().st_size * (_HIGHEST_RATIO if is_gzip(path) else 1)


def read_bytes(path: Path, start: int, n: int) -> NDArray[np.uint8]:
    """Some bytes of a file, or of what it unpacks to.

    Args:
        path: Plain or gzip.
        start: First byte, of the unpacked content.
        n: How many.

    Raises:
        EOFError: The file holds fewer.
        zlib.error: Damaged: it cannot be unpacked, or checksum or length of a gzip member do not fit it.
        MemoryError: No room for the bytes.
    """
    content = np.empty(n, dtype=np.uint8)
    with path.open("rb") as file:
        if is_gzip(path):
            _unpack_into(content, file, start)
        else:
            file.seek(start)
            position = start + file.readinto(content.data)
            if position < start + n:
                raise EOFError(f"it ends after {position} of {start + n} bytes")
    return content


def _unpack_into(content: NDArray[np.uint8], file: BinaryIO, start: int) -> None:
    """Fill the content, and read the gzip member in which it ends to its end."""
    position, end = 0, start + len(content)
    for piece in _unpacked(file, end):
        first, last = max(start - position, 0), min(end - position, len(piece))
        if first < last:
            place = position + first - start
            content[place : place + last - first] = np.frombuffer(piece, np.uint8)[first:last]
        position += len(piece)


def _unpacked(file: BinaryIO, wanted: int) -> Iterator[bytes]:
    """The content of gzip members, up to the end of the one in which so many bytes are reached."""
    position, packed = 0, b""
    while position < wanted:
        member, has_begun = zlib.decompressobj(_GZIP_FORMAT), False
        while not member.eof:
            packed = packed or file.read(_CHUNK_BYTES)
            if not packed:
                raise EOFError(f"its gzip stream ends after {position} bytes, where {wanted} are expected")
            packed = packed if has_begun else packed.lstrip(b"\0")  # members may be padded
            has_begun = has_begun or bool(packed)
            piece = member.decompress(packed)
            packed = member.unused_data
            position += len(piece)
            yield piece
