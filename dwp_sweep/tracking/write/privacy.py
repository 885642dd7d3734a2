"""What of a sweep stays on its storage: pictures of scans, names of subjects, places of data.

A search space asks for it under ``tracking``. Pseudonyms are keyed hashes: the same name has the same one in
all sweeps of a storage, and nobody without the key, which lies on the storage, can try names out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.record import UNREADABLE
from dwp_sweep.strict import json_of
from dwp_sweep.tracking.mlflow_format import PLACES

KEY_FILE = "pseudonyms.key"
"""On the storage; who has it can tell whether a pseudonym belongs to a name."""
_RUN = "runs:/"
_NO_SCAN = frozenset({"learning_curve.png", "calibration.png", "kernels_and_samples.png"})
"""Pictures that show no scan and name none; all others stay on the storage."""
_EXAMPLE = "example"
_LISTS = ("train", "val", "test")
_SCORES = ("test_scores.json", "val_scores.json")
_HIDDEN_ERROR = "the message is kept on the storage: dwp-sweep status SWEEP shows it"


@dataclass(frozen=True)
class Privacy:
    """What must not leave the storage.

    Attributes:
        images: Whether pictures of scans go to MLflow.
        key: Of the pseudonyms; empty: names stay as they are.
    """

    images: bool = True
    key: str = field(default="", repr=False)

    @property
    def is_open(self) -> bool:
        """Whether everything may leave."""
        return self.images and not self.key

    @property
    def shows_scans(self) -> bool:
        """Whether pictures of scans may leave; their titles name subjects."""
        return self.is_open

    def pseudonym(self, name: str) -> str:
        """What stands for a subject's or patient's name."""
        digest = hmac.new(bytes.fromhex(self.key), name.encode(), hashlib.sha256).hexdigest()
        return f"subject-{digest[:12]}"

    def values(self, values: Any) -> Any:
        """Plain values without places of data, and with pseudonyms in lists of subjects; dotted or nested."""
        if self.is_open:
            return values
        if isinstance(values, Mapping):
            return {
                name: self._value(str(name).rpartition(".")[2], value)
                for name, value in values.items()
                if not _is_place(str(name), value)
            }
        return [self.values(value) for value in values] if isinstance(values, list | tuple) else values

    def message(self, text: str) -> str:
        """An error's text, which may name files and subjects."""
        return text if self.is_open else _HIDDEN_ERROR

    @contextmanager
    def public(self, folder: Path) -> Iterator[Path]:
        """The files of a node that may leave: the folder itself, or a copy that goes with the context."""
        if self.is_open:
            yield folder
            return
        with tempfile.TemporaryDirectory() as place:
            names = _subjects(folder)
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                if self._stays(path):
                    continue
                copy = Path(place) / path.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                if path.suffix == ".json":
                    self._copy_json(path, copy, names)
                else:
                    shutil.copyfile(path, copy)
            yield Path(place)

    def _value(self, name: str, value: Any) -> Any:
        if name == "subjects" and self.key and isinstance(value, list | tuple):
            return [self.pseudonym(str(one)) for one in value]
        return Path(value).name if name == "file" and isinstance(value, str) else self.values(value)

    def _stays(self, path: Path) -> bool:
        is_picture = path.suffix == ".png" and path.name not in _NO_SCAN
        return is_picture or path.stem == _EXAMPLE

    def _copy_json(self, path: Path, copy: Path, names: frozenset[str]) -> None:
        values = json_of(path.read_text(encoding="utf-8"))
        if path.name == "record.json":
            values = self.values(values)
        copy.write_text(json.dumps(self._renamed(values, names), indent=1), encoding="utf-8")

    def _renamed(self, values: Any, names: frozenset[str]) -> Any:
        """Every name of a subject, as a key or as a value, by its pseudonym."""
        if not self.key:
            return values
        if isinstance(values, Mapping):
            return {self._renamed(name, names): self._renamed(value, names) for name, value in values.items()}
        if isinstance(values, list):
            return [self._renamed(value, names) for value in values]
        return self.pseudonym(values) if isinstance(values, str) and values in names else values


OPEN = Privacy()
"""Everything leaves, which is the default."""


def privacy_of(settings: Mapping[str, Any], storage: str | Path) -> Privacy:
    """What a sweep's settings ask for; makes the storage's key where it is needed first.

    Args:
        settings: The resolved search space.
        storage: Holds the key.
    """
    asked = settings.get("tracking")
    if not isinstance(asked, Mapping):
        return OPEN
    key = _key(storage) if asked.get("subjects") == "pseudonym" else ""
    return Privacy(asked.get("images", True) is not False, key)


def _key(storage: str | Path) -> str:
    files = open_store(storage, writes=True).files
    files.create(KEY_FILE, secrets.token_hex(32))  # one of several drivers makes it
    return (files.read(KEY_FILE) or "").strip()


def _is_place(name: str, value: Any) -> bool:
    return name.rpartition(".")[2] in PLACES and not (isinstance(value, str) and value.startswith(_RUN))


def _subjects(folder: Path) -> frozenset[str]:
    """Names of subjects and patients in a node's files."""
    names: set[str] = set()
    for path in folder.rglob("*.json"):
        try:
            values = json_of(path.read_text(encoding="utf-8"))
        except (OSError, *UNREADABLE):
            continue
        if not isinstance(values, Mapping):
            continue
        if path.name == "split.json":
            names |= {name for role in _LISTS for name in values.get(role) or ()}
        elif path.name in _SCORES:
            names |= set(values)
            rows = (row for row in values.values() if isinstance(row, Mapping))
            names |= {row["patient"] for row in rows if "patient" in row}
    return frozenset(names)
