"""What a look at a storage finds: how much lies where, and what of it may go.

The words of `gc`, whatever the kind of storage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RUN_FILE = re.compile(r"^(run-.+\.json|stop-.+|hold-.+)$")
"""What a run leaves in its sweep's folder."""


@dataclass(frozen=True)
class Garbage:
    """Something that may go.

    Attributes:
        path: Folder or file; on S3 relative to the storage.
        n_bytes: On the disk.
        why: In words.
    """

    path: Path
    n_bytes: int
    why: str


@dataclass(frozen=True)
class Usage:
    """Disk use of one part of a storage.

    Attributes:
        name: A stage, or another folder of the storage.
        n_nodes: Published nodes; 0 for what is no stage.
        n_bytes: Of everything in it.
    """

    name: str
    n_nodes: int
    n_bytes: int


@dataclass(frozen=True)
class Survey:
    """What lies on a storage.

    Attributes:
        usage: Stages first, then the other folders; the largest of each first.
        garbage: What may go.
        notes: What a reader should know, e.g. why nothing of a stage may go.
        forgotten: Sweeps that counted as gone.
    """

    usage: tuple[Usage, ...]
    garbage: tuple[Garbage, ...]
    notes: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()

    @property
    def n_bytes_garbage(self) -> int:
        """Bytes that would be free again."""
        return sum(one.n_bytes for one in self.garbage)
