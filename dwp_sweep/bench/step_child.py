"""The process that takes training steps for `dwp_sweep.bench.step_process`, one for each line that it reads.

Run as ``python -m dwp_sweep.bench.step_child WORK``; imported by nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dwp_sweep.bench.frame import spent_on
from dwp_sweep.bench.steps import Step, StepKind, StepSetting, make_step

_KIB = 1024


def main(work: Mapping[str, Any]) -> None:
    """Answer each line of standard input, the name of a version, with a step's figures."""
    torch.set_num_threads(work["threads"])
    facts = work["setting"]
    setting = StepSetting(tuple(facts["size"]), tuple(facts["channels"]), facts["device"], facts["seed"])
    device = torch.device(setting.device)
    steps: dict[str, Step] = {}
    before: float | None = None
    for line in sys.stdin:
        name = line.strip()
        if name not in steps:
            steps[name] = make_step(StepKind(**work["kinds"][name]), setting)
        if before is None:
            before = _memory_gb(device, "VmRSS")
        spent = spent_on(steps[name], device)
        figures = {
            "seconds": spent.wall_s,
            "cpu_s": spent.cpu_s,
            "peak_gb": _memory_gb(device, "VmHWM") - before,
        }
        print(json.dumps(figures), flush=True)


def _memory_gb(device: torch.device, line: str) -> float:
    """Of a GPU the peak; of the process ``VmRSS`` (now) or ``VmHWM`` (peak), 0 where no Linux tells them."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status")  # `getrusage` begins with the parent's peak
    lines = dict(entry.split(":", 1) for entry in status.read_text().splitlines()) if status.exists() else {}
    return int(lines.get(line, "0 kB").split()[0]) * _KIB / 1e9


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
