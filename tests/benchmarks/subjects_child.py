"""One data set of a given number of subjects, prepared and read in a process of its own.

Run by the bench `subjects` with its work as JSON; prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from dwp_sweep.data.batches import BatchMaker
from dwp_sweep.data.cache.cases import load_cases
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.data.patches import PatchConfig
from tests.benchmarks.scan_tree import ScanScale, write_tree

_STATUS = Path("/proc/self/status")
_BATCH = 2


class AnonymousPeak:
    """Largest anonymous memory of this process inside the block, beyond that at its beginning, in MB.

    Looked at every few milliseconds; 0 where the system has no ``/proc``.
    """

    def __enter__(self) -> AnonymousPeak:
        self._before = self._peak = _anonymous_mb()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    @property
    def mb(self) -> float:
        """The peak."""
        return self._peak - self._before

    def _watch(self) -> None:
        while not self._end.wait(0.005):
            self._peak = max(self._peak, _anonymous_mb())


def _anonymous_mb() -> float:
    if not _STATUS.is_file():
        return 0.0
    line = next((line for line in _STATUS.read_text().splitlines() if line.startswith("RssAnon")), "x 0")
    return int(line.split()[1]) / 1024


def main(work: dict[str, Any]) -> dict[str, float]:
    """Write the data set, prepare it, read an epoch of batches; peaks in MB and seconds."""
    torch.set_num_threads(work["threads"])
    folder, scale = Path(work["folder"]), ScanScale(tuple(work["scan"]), tuple(work["input"]))
    _warm_up(folder)
    config = write_tree(folder / "set", work["number"], scale)
    started = time.perf_counter()
    with AnonymousPeak() as preparing:
        cases = load_cases(config, list_subjects(config), folder / "cache")
    prepare_s = time.perf_counter() - started
    with AnonymousPeak() as training, BatchMaker(cases, PatchConfig(), 0) as batches:
        order = list(torch.randperm(len(cases)).split(_BATCH))  # type: ignore[no-untyped-call]
        for step, indices in enumerate(order):
            if step + 1 < len(order):
                batches.upcoming(order[step + 1], step + 1)
            batches.batch(indices, step)[0].images.mean()
    return {
        "peak_mb": max(preparing.mb, training.mb),
        "prepare_mb": preparing.mb,
        "epoch_mb": training.mb,
        "scan_mb": 4 * torch.Size(scale.scan).numel() / 2**20,
        "prepare_s": prepare_s,
    }


def _warm_up(folder: Path) -> None:
    """Libraries are loaded by the first scan, a tiny one; their memory is not that of the data."""
    config = write_tree(folder / "first", 1, ScanScale((24, 24, 16), (16, 16, 16)))
    load_cases(config, list_subjects(config), folder / "first_cache")


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
