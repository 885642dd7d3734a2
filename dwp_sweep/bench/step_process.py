"""Training steps in processes of their own: a process is what has allocator settings and a peak of memory.

The parent asks a child over a pipe for one step at a time, so that versions in several processes take turns.
The child is this module, run as ``python -m dwp_sweep.bench.step_process WORK``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from dwp_sweep.bench.frame import TimeSpent, Version, spent_on
from dwp_sweep.bench.training_step import Step, StepKind, StepSetting, make_step
from dwp_sweep.harness.trial import MALLOC_ENVIRONMENT

_KIB = 1024


class StepProcess:
    """A process that takes steps on demand.

    Args:
        setting: Of its steps.
        kinds: The versions that it can be asked for, by name.
        allocator: Start it with the allocator's settings, or with none.
    """

    def __init__(self, setting: StepSetting, kinds: Mapping[str, StepKind], allocator: bool = True) -> None:
        work = {
            "setting": asdict(setting),
            "kinds": {name: asdict(kind) for name, kind in kinds.items()},
            "threads": torch.get_num_threads(),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dwp_sweep.bench.step_process", json.dumps(work)],
            env=_environment(allocator),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> StepProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()  # the end of its input ends the child
        self._process.wait()
        self._process.stdout.close()

    def step(self, name: str) -> dict[str, float]:
        """Take one step of a version.

        Returns:
            ``seconds`` by the clock, ``cpu_s`` of all its threads, and ``peak_gb``: its largest memory so far
            beyond what it had before its first step.

        Raises:
            RuntimeError: If the process has died; its own words stand on standard error.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(name + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the process for the step {name!r} died: exit {self._process.wait()}")
        result: dict[str, float] = json.loads(answer)
        return result

    def version(self, name: str, what: str, goal: float | None = None) -> Version:
        """A version to `compare`: the process takes its steps and times them."""

        def run() -> TimeSpent:
            figures = self.step(name)
            return TimeSpent(figures["seconds"], figures["cpu_s"])

        return Version(name, what, run, goal)


def _environment(allocator: bool) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return bare | MALLOC_ENVIRONMENT if allocator else bare


def _take_steps(work: Mapping[str, Any]) -> None:
    """In the child: answer each line of standard input, the name of a version, with a step's figures."""
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
    _take_steps(json.loads(sys.argv[1]))
