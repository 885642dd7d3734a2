"""Whether memory grows with the number of subjects: scans of BraTS size, prepared and then read for an epoch.

Each number of subjects has a process of its own. What counts is its anonymous memory: pages of mapped files
belong to the system, which drops them when it needs room. Without a network, whose memory does not depend
on the number of subjects and is measured by `memory`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from dwp_sweep.bench.frame import Row, Setting
from dwp_sweep.errors import InputError, Problem
from tests.benchmarks.scan_tree import ScanScale

_FULL = ScanScale((240, 240, 155), (152, 184, 144))
_QUICK = ScanScale((24, 24, 16), (16, 16, 16))
_NUMBERS, _QUICK_NUMBERS = (8, 275), (2, 4)
GOAL = 1.25
"""Largest ratio that counts as flat: how preparations overlap differs from run to run."""


def subjects(setting: Setting) -> list[Row]:
    """Memory of reading 275 BraTS-size subjects by that of 8: first preparation, then an epoch of batches."""
    scale, numbers = (_QUICK, _QUICK_NUMBERS) if setting.quick else (_FULL, _NUMBERS)
    found = [_measured(number, scale, setting) for number in numbers]
    unit = found[0]["peak_mb"]
    return [
        Row(
            f"{number} subjects",
            "seconds of preparation a subject; ratio: of peak anonymous memory",
            values["prepare_s"] / number,
            f"{numbers[0]} subjects",
            values["peak_mb"] / unit,
            None if number == numbers[0] else GOAL,
            values,
        )
        for number, values in zip(numbers, found, strict=True)
    ]


def _measured(number: int, scale: ScanScale, setting: Setting) -> dict[str, float]:
    setting.tell(f"{number} subjects: one process")
    with tempfile.TemporaryDirectory(prefix="dwp_sweep_") as folder:
        _require_room(number, scale, Path(folder))
        work = {
            "number": number,
            "scan": scale.scan,
            "input": scale.input,
            "folder": folder,
            "threads": torch.get_num_threads(),
        }
        command = [sys.executable, "-m", "tests.benchmarks.subjects_child", json.dumps(work)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values


def _require_room(number: int, scale: ScanScale, folder: Path) -> None:
    wanted, free = 2 * number * scale.bytes_each, shutil.disk_usage(folder).free
    if wanted > free:
        what = f"{number} subjects want {wanted / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise InputError(Problem(str(folder), what, "set TMPDIR to a larger disk"))
