"""Training steps in processes of their own: a process is what has allocator settings and a peak of memory.

This is the parent's side: it asks `dwp_sweep.bench.step_child` over a pipe for one step at a time, so that
versions in several processes take turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType

import torch

from dwp_sweep.bench.frame import Row, Setting
from dwp_sweep.bench.steps import StepKind, StepSetting
from dwp_sweep.harness.tune.worker_process import MALLOC_ENVIRONMENT


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
            [sys.executable, "-m", "dwp_sweep.bench.step_child", json.dumps(work)],
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


@dataclass(frozen=True)
class Asked:
    """A version in the process that can take its steps.

    Attributes:
        what: In words, for people.
        process: Where it runs.
        goal: Largest ratio to the baseline that is good enough; None: no goal.
    """

    what: str
    process: StepProcess
    goal: float | None = None


def compare_steps(versions: Mapping[str, Asked], setting: Setting, n_repeats: int) -> list[Row]:
    """As `dwp_sweep.bench.frame.compare`: in turn, medians, related to the first version."""
    names = list(versions)
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(-1, setting.repeats(n_repeats)):
        start = turn % len(names)
        for name in (*names[start:], *names[:start]):
            setting.tell(f"{name}: round {turn + 1}, of which 0 warms up")
            taken[name].append(versions[name].process.step(name))
    median = {
        name: {key: statistics.median(one[key] for one in figures[1:]) for key in ("seconds", "cpu_s")}
        for name, figures in taken.items()
    }
    return [
        _row(name, version, names[0], median[name], median[names[0]]) for name, version in versions.items()
    ]


def _row(
    name: str, version: Asked, baseline: str, own: Mapping[str, float], unit: Mapping[str, float]
) -> Row:
    ratio = own["seconds"] / unit["seconds"]
    return Row(name, version.what, own["seconds"], baseline, ratio, version.goal, {"cpu_s": own["cpu_s"]})


def _environment(allocator: bool) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return bare | MALLOC_ENVIRONMENT if allocator else bare
