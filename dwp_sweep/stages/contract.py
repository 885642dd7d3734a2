"""What a stage is: a pure function from a config and published inputs to files in ``out_dir``.

Stands between the harness, which runs stages, and the stages themselves.
A stage reports to the outside through `Emit` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dwp_sweep.strict import StrictModel

Inputs = Mapping[str, tuple[Path, ...]]
"""Published folders of a node's inputs by role, e.g. ``{"source": (dir,), "priors": (dir, ...)}``."""


SCANS_READ, SCANS_SCORED, SCANS = "scans_read", "scans_scored", "scans"
"""Metrics of step 0, while a stage reads or scores scans: how many are done, of how many."""

WARM_UP_EPOCHS = "warm_up_epochs"
"""Metric of every epoch where a training begins with so many epochs that are no candidates for the best."""


class Emit(Protocol):
    """How a stage reports: once an epoch, and while it reads or scores scans.

    Raises:
        StopTrial: To ask the stage to leave; it has just written a checkpoint to ``work_dir``.
    """

    def __call__(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Report the metrics of one step of the named stage; epochs count from 1, 0 is outside them.

        Step 0 is the progress of reading or scoring scans; it is shown and not stored.
        """


@dataclass(frozen=True)
class Stage:
    """A stage as the harness sees it.

    Attributes:
        name: ``source``, ``harvest``, ``prior`` or ``target``; the folder in the store.
        version: Code version; raised by hand when results change.
        config: The strict model of everything that the stage reads.
        run: ``run(config, inputs, work_dir, out_dir, emit)`` writes files into ``out_dir`` and
            returns the final metrics.
        n_steps: Largest number of steps (epochs) that `run` will emit for a config.
    """

    name: str
    version: int
    config: type[StrictModel]
    run: Callable[[Any, Inputs, Path, Path, Emit], Mapping[str, float]]
    n_steps: Callable[[Any], int]
