"""A node in the hands of a trial, and how long it will take yet.

Part of the board. Knows nothing of trials but their names.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import Estimate


@dataclass
class Work:
    """A node in the hands of a trial.

    Attributes:
        node: The node.
        trial_id: The trial.
        started_s: Monotonic time of its start; None while queued.
        epoch: Epochs done, earlier attempts included.
        n_epochs: Largest number of epochs; 0 while unknown.
        metrics: Last metrics.
        first_epoch: Epochs done at the first report of this attempt.
        reading: Scans read and all scans, while they are prepared; None before and after.
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

    @property
    def activity(self) -> str:
        """What it does before its first epoch."""
        return reading_text(*self.reading) if self.reading is not None else "starting"

    def progressed(self, epoch: int, n_epochs: int, metrics: Mapping[str, float]) -> None:
        """Another epoch is done."""
        if self.first_epoch is None:
            self.first_epoch, self.first_epoch_s = epoch, time.monotonic()
        self.epoch, self.n_epochs, self.metrics, self.reading = epoch, n_epochs, metrics, None

    def left_s(self, estimate: Estimate) -> float | None:
        """Expected seconds to its end; None before anything is measured."""
        now = time.monotonic()
        if self.first_epoch is not None and self.epoch > self.first_epoch and self.n_epochs:
            pace = (now - self.first_epoch_s) / (self.epoch - self.first_epoch)
            by_epochs = pace * max(self.n_epochs - self.epoch, 0)
        else:
            by_epochs = None
        if not estimate.is_measured:
            return by_epochs
        by_kind = max(estimate.seconds(self.node) - (now - (self.started_s or now)), 0.0)
        # Early stopping ends most nodes before their last epoch: the smaller guess is the better one.
        return by_kind if by_epochs is None else min(by_epochs, max(by_kind, 1.0))


def reading_text(n_read: int, n_scans: int) -> str:
    """How far the reading of scans is, in words."""
    return f"reading scans {n_read}/{n_scans}"
