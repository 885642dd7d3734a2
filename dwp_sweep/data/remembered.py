"""What was found out about a scan, by the content of its files and the settings: looked at once.

A small JSON file each, below the cache. One that is lost or damaged only costs time.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def memory_file(folder: Path, identity: object) -> Path:
    """Where the answer to a question lies.

    Args:
        folder: Of the answers.
        identity: All that the answer depends on, as JSON can hold it.
    """
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return folder / f"{name}.json"


def recall(path: Path) -> Mapping[str, Any] | None:
    """The answer, or None where there is none."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def remember(path: Path, values: Mapping[str, Any]) -> None:
    """Keep an answer: written beside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex}.json")
    beside.write_text(json.dumps(values))
    beside.replace(path)
