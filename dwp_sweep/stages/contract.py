"""What a stage is: a pure function from a config and published inputs to files in ``out_dir``.

Stands between the harness, which runs stages, and the stages themselves. Knows nothing of Ray,
MLflow or YAML: a stage's only word to the outside is `Emit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dwp_sweep.strict import StrictModel

Inputs = Mapping[str, tuple[Path, ...]]
"""Published folders of a node's inputs by role, e.g. ``{"source": (dir,), "priors": (dir, ...)}``."""


SCANS_READ, SCANS = "scans_read", "scans"
"""What a stage tells as step 0 while it waits for its scans: how many are there, of how many."""


class Emit(Protocol):
    """A stage's only word to the outside: once an epoch, and now and then while it reads scans.

    Raises:
        StopTrial: To ask the stage to leave; it has just written a checkpoint to ``work_dir``.
    """

    def __call__(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Tell the metrics of one step of the named stage; epochs count from 1, 0 is before the first.

        Step 0 says how far the reading of scans is; it is shown and not kept.
        """


def never_revised(config: Any) -> int:
    """The usual `Stage.revision`: what changed, changed for every config."""
    return 0


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
        revision: For a config, how often results changed for such configs and not for all; 0 leaves the key
            as it is.
    """

    name: str
    version: int
    config: type[StrictModel]
    run: Callable[[Any, Inputs, Path, Path, Emit], Mapping[str, float]]
    n_steps: Callable[[Any], int]
    revision: Callable[[Any], int] = never_revised
