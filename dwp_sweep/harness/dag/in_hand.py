"""What a run has in hand: which trial works on which node, how far it is, how long trials have taken.

The clock is an argument, so that a simulation can drive it.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import RunningNode

Clock = Callable[[], float]
"""Seconds since some moment."""

_N_EPOCHS, _N_JUDGED = 32, 3
"""Epochs that a median is of: the last ones, and at least so many."""


@dataclass
class Work:
    """A node in the hands of a trial.

    Attributes:
        node: The node.
        trial_id: The trial.
        started_s: By the clock of the run; None while queued.
        epoch: Epochs done, earlier attempts included.
        n_epochs: Largest number of epochs; 0 while unknown.
        metrics: Last metrics.
        first_epoch: Epochs done at the first report of this attempt.
        first_epoch_s: When that was.
        reading: Scans read and all scans, while they are prepared; None before and after.
        doing: What is done with the scans, as in ``reading``.
        sign_s: When the trial last gave a sign of life; 0 while queued.
        epochs_s: Seconds of its last epochs in this attempt.
    """

    node: Node
    trial_id: str
    started_s: float | None = None
    epoch: int = 0
    n_epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    first_epoch: int | None = None
    first_epoch_s: float = 0.0
    reading: tuple[int, int] | None = None
    doing: str = "reading"
    sign_s: float = 0.0
    epochs_s: deque[float] = field(default_factory=lambda: deque(maxlen=_N_EPOCHS))
    last_epoch_s: float = 0.0

    @property
    def activity(self) -> str:
        """What it does before its first epoch and after its last one."""
        return reading_text(*self.reading, self.doing) if self.reading is not None else "starting"

    @property
    def epoch_s(self) -> float | None:
        """Median seconds of an epoch of this attempt; None before there are some."""
        return statistics.median(self.epochs_s) if len(self.epochs_s) >= _N_JUDGED else None

    def silent_s(self, now_s: float) -> float:
        """Seconds since it last gave a sign of life; 0 while queued."""
        return 0.0 if self.started_s is None else now_s - self.sign_s

    def progress(self, now_s: float) -> RunningNode:
        """How far it is."""
        ran_s = now_s - (now_s if self.started_s is None else self.started_s)
        if not self.n_epochs or self.first_epoch is None or self.epoch <= self.first_epoch:
            return RunningNode(self.node, ran_s)
        epoch_s = (now_s - self.first_epoch_s) / (self.epoch - self.first_epoch)
        return RunningNode(self.node, ran_s, self.n_epochs - self.epoch, epoch_s)


class InHand:
    """The work of a run, and the time that its trials have used.

    Args:
        clock: Of the run.

    Attributes:
        work: Trial -> its work; changed by the methods only.
    """

    def __init__(self, clock: Clock) -> None:
        self.work: dict[str, Work] = {}
        self._clock = clock
        self._used_s: defaultdict[str, float] = defaultdict(float)
        self._slowest_s: dict[str, float] = {}

    @property
    def now_s(self) -> float:
        """By the clock of the run."""
        return self._clock()

    def epoch_s(self, work: Work) -> float | None:
        """Median seconds of an epoch of a node, else of the slowest one of its stage; None while unknown."""
        known = work.epoch_s
        return known if known is not None else self._slowest_s.get(work.node.stage)

    def take(self, node: Node, trial_id: str) -> None:
        """A trial takes a node, which is queued until the trial begins it."""
        self.work[trial_id] = Work(node, trial_id)

    def begin(self, trial_id: str) -> Node | None:
        """A trial begins its node, maybe once more after its worker was lost; None where it has none."""
        work = self.work.get(trial_id)
        if work is None:
            return None
        self._count(work)
        now_s = self._clock()
        self.work[trial_id] = Work(work.node, trial_id, started_s=now_s, sign_s=now_s)
        return work.node

    def progressed(
        self, trial_id: str, epoch: int, n_epochs: int, metrics: Mapping[str, float]
    ) -> Node | None:
        """A trial has done another epoch of its node; None where it has none."""
        work = self.work.get(trial_id)
        if work is None:
            return None
        now_s = self._clock()
        if work.first_epoch is None:
            work.first_epoch, work.first_epoch_s = epoch, now_s
        elif epoch > work.epoch:
            # A worker reports not every short epoch.
            work.epochs_s.append((now_s - work.last_epoch_s) / (epoch - work.epoch))
            stage = work.node.stage
            self._slowest_s[stage] = max(self._slowest_s.get(stage, 0.0), work.epoch_s or 0.0)
        work.sign_s = work.last_epoch_s = now_s
        work.epoch, work.n_epochs, work.metrics, work.reading = epoch, n_epochs, metrics, None
        return work.node

    def reads(self, trial_id: str, n_done: int, n_scans: int, doing: str) -> Work | None:
        """A trial reads or scores scans; None where it has no node."""
        work = self.work.get(trial_id)
        if work is not None:
            work.reading, work.doing, work.sign_s = (n_done, n_scans), doing, self._clock()
        return work

    def release(self, node: Node) -> None:
        """A node leaves all hands."""
        for trial_id in [trial_id for trial_id, work in self.work.items() if work.node.key == node.key]:
            self._count(self.work.pop(trial_id))

    def running(self) -> list[Work]:
        """Work that has begun."""
        return [work for work in list(self.work.values()) if work.started_s is not None]

    def seconds_used(self) -> dict[str, float]:
        """Stage -> seconds of trials, failed and lost ones too, up to now for those that are running."""
        used, now = dict(self._used_s), self._clock()
        for work in self.running():
            assert work.started_s is not None
            used[work.node.stage] = used.get(work.node.stage, 0.0) + now - work.started_s
        return used

    def progress(self) -> list[RunningNode]:
        """How far the running nodes are."""
        return [work.progress(self._clock()) for work in self.running()]

    def entries(self) -> list[dict[str, Any]]:
        """The running nodes as other terminals read them; ``reading``: scans read, and all scans."""
        now_ms, now_s = time.time_ns() // 1_000_000, self._clock()
        return [
            {
                "key": work.node.key,
                "epoch": work.epoch,
                "n_epochs": work.n_epochs,
                "epoch_s": work.progress(now_s).epoch_s,
                "reading": work.reading and (*work.reading, work.doing),
                "silent_s": work.silent_s(now_s),
                "median_s": self.epoch_s(work),
                "started_ms": now_ms - round(1000 * (now_s - (work.started_s or now_s))),
            }
            for work in self.running()
        ]

    def _count(self, work: Work) -> None:
        if work.started_s is not None:
            self._used_s[work.node.stage] += self._clock() - work.started_s


def reading_text(n_read: int, n_scans: int, doing: str = "reading") -> str:
    """How far the reading or scoring of scans is, in words."""
    return f"{doing} scans {n_read}/{n_scans}"
