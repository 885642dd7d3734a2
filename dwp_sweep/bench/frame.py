"""What every bench shares: a row of its table, and how versions are timed side by side.

A bench is a function of a `Setting` that returns rows. Times are only ever compared within one process,
and the versions take turns, so that whatever else the machine does hits all of them alike.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch

Tell = Callable[[str], None]


def _silent(message: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Setting:
    """How to run a bench.

    Attributes:
        quick: A tiny scale that only shows that the bench works; its numbers mean nothing.
        device: Where to compute.
        seed: Of everything random.
        tell: Takes a line about what is being done.
    """

    quick: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    tell: Tell = _silent

    def repeats(self, n: int) -> int:
        """The number of repeats: ``n``, or 1 at the tiny scale."""
        return 1 if self.quick else n


@dataclass(frozen=True)
class Row:
    """One measured version.

    Attributes:
        name: Of the version, unique in its bench.
        what: In words, for people.
        seconds: Median over the repeats; None where time is not what is measured.
        baseline: Name of the row that it is compared with; its own name for the baseline itself.
        ratio: Its seconds by those of the baseline: below 1 is faster.
        goal: The ratio should be at most this; None: no goal.
        extra: Further numbers, by name with unit.
    """

    name: str
    what: str
    seconds: float | None
    baseline: str | None = None
    ratio: float | None = None
    goal: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal or a ratio."""
        return None if self.goal is None or self.ratio is None else self.ratio <= self.goal


class Bench(Protocol):
    """Measures one thing; the first line of its docstring is what the command lists."""

    def __call__(self, setting: Setting) -> list[Row]:
        """Rows in the order to show them."""
        ...


class TimeSpent(NamedTuple):
    """Seconds of one run: by the clock, and of all threads together, which other processes disturb less."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Version:
    """One way to do what a bench measures.

    Attributes:
        name: Unique in its bench.
        what: In words, for people.
        run: Does it once; `spent_on` waits for the device. A run in another process returns its `TimeSpent`.
        goal: Largest ratio to the baseline that is good enough; None: no goal.
        extra: Taken over into the row.
    """

    name: str
    what: str
    run: Callable[[], object]
    goal: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


def compare(versions: Sequence[Version], setting: Setting, n_repeats: int, baseline: str = "") -> list[Row]:
    """Time versions in turn and relate them to one of them.

    Args:
        versions: In the order of the rows.
        setting: Of the bench.
        n_repeats: Timed rounds after one that only warms up; 1 at the tiny scale.
        baseline: Name of the version with ratio 1; the first one if empty.

    Raises:
        KeyError: If the baseline is none of the versions.
    """
    spent = time_in_turn(versions, setting, n_repeats)
    baseline = baseline or versions[0].name
    unit = spent[baseline].wall_s
    return [
        Row(
            v.name,
            v.what,
            spent[v.name].wall_s,
            baseline,
            spent[v.name].wall_s / unit,
            v.goal,
            {"cpu_s": spent[v.name].cpu_s, **v.extra},
        )
        for v in versions
    ]


def time_in_turn(versions: Sequence[Version], setting: Setting, n_repeats: int) -> dict[str, TimeSpent]:
    """Medians of each version; every round runs each once, beginning with another one."""
    taken: dict[str, list[TimeSpent]] = {version.name: [] for version in versions}
    for version in versions:
        setting.tell(f"{version.name}: warming up")
        spent_on(version.run, setting.device)
    n_rounds = setting.repeats(n_repeats)
    for turn in range(n_rounds):
        start = turn % len(versions)
        for version in (*versions[start:], *versions[:start]):
            setting.tell(f"{version.name}: round {turn + 1} of {n_rounds}")
            taken[version.name].append(spent_on(version.run, setting.device))
    return {
        name: TimeSpent(*(statistics.median(column) for column in zip(*times, strict=True)))
        for name, times in taken.items()
    }


def spent_on(run: Callable[[], object], device: torch.device) -> TimeSpent:
    """Seconds of one run until the device has finished; those that the run itself returns, if any."""
    wait_for(device)
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    wait_for(device)
    if isinstance(result, TimeSpent):
        return result
    return TimeSpent(time.perf_counter() - wall, time.process_time() - cpu)


def machine(setting: Setting) -> dict[str, str | int]:
    """What the numbers depend on beside the code: goes with every output."""
    cuda = setting.device.type == "cuda"
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(setting.device) if cuda else str(setting.device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 0,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def wait_for(device: torch.device) -> None:
    """Until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
