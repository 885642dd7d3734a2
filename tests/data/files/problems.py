"""The one problem of a scan that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dwp_sweep.data.files.volumes import read_volume
from dwp_sweep.errors import InputError


def problem(path: Path, channel: int | None = None) -> str:
    """What is wrong with a file; its only problem names the file and says what to do."""
    with pytest.raises(InputError) as caught:
        read_volume(path, channel)
    (only,) = caught.value.problems
    assert only.where == str(path)
    assert only.fix
    return only.what
